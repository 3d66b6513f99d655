package operator

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"mcpgateway/proxy/ledger"
)

// Usage is the answer to GET /usage.
type Usage struct {
	From  time.Time   `json:"from"`
	To    time.Time   `json:"to"`
	By    []string    `json:"by"`
	Lines []UsageLine `json:"lines"`
}

// UsageLine is what was used of one kind.
type UsageLine struct {
	By               []string `json:"by"` // as that of Usage
	Calls            int64    `json:"calls"`
	Errors           int64    `json:"errors"`
	Refused          int64    `json:"refused"`
	BytesIn          int64    `json:"bytes_in"`
	BytesOut         int64    `json:"bytes_out"`
	WallMicros       int64    `json:"wall_us"`
	CPUMicros        int64    `json:"cpu_us"`
	MemoryKiBSeconds int64    `json:"memory_kib_s"`
	EgressSent       int64    `json:"egress_sent"`
	EgressReceived   int64    `json:"egress_received"`
}

// usage answers GET /usage?project=&server=&identity=&from=&to=&by=, all of which may be
// missing but from and to. Times are whole hours: those that are not are made so, outwards.
func (o *Operator) usage(r *http.Request) (any, error) {
	asked := r.URL.Query()
	from, err := time.Parse(time.RFC3339, asked.Get("from"))
	to, failed := time.Parse(time.RFC3339, asked.Get("to"))
	if err := errors.Join(err, failed); err != nil {
		return nil, &failure{http.StatusBadRequest, fmt.Errorf("from and to must be times as in RFC 3339: %w", err)}
	}
	query := ledger.Query{
		Project: asked.Get("project"), Server: asked.Get("server"), Identity: asked.Get("identity"),
		From: from.Truncate(ledger.Hour).UTC(), To: to.Add(ledger.Hour - 1).Truncate(ledger.Hour).UTC(),
	}
	if by := asked.Get("by"); by != "" {
		query.By = strings.Split(by, ",")
	}
	if err := query.Check(); err != nil {
		return nil, &failure{http.StatusBadRequest, err}
	}
	report, err := o.source.Usage(r.Context(), query)
	if err != nil {
		return nil, err
	}
	answer := Usage{From: report.From, To: report.To, By: append([]string{}, report.By...), Lines: []UsageLine{}}
	for _, line := range report.Lines {
		a := &line.Amounts
		answer.Lines = append(answer.Lines, UsageLine{
			append([]string{}, line.By...), a.Calls, a.Errors, a.Refused, a.BytesIn, a.BytesOut, a.WallMicros, a.CPUMicros, a.MemoryKiBSeconds,
			a.EgressSent, a.EgressReceived,
		})
	}
	return answer, nil
}
