package operator

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"mcpgateway/proxy/ledger"
	"mcpgateway/proxy/report"
)

// usage answers GET /usage?project=&server=&identity=&from=&to=&by= with a report.Usage. All may be
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
	sums, err := o.source.Usage(r.Context(), query)
	if err != nil {
		return nil, err
	}
	answer := report.Usage{From: sums.From, To: sums.To, By: append([]string{}, sums.By...), Lines: []report.UsageLine{}}
	for _, line := range sums.Lines {
		answer.Lines = append(answer.Lines, report.UsageLine{By: append([]string{}, line.By...), Used: report.Used(line.Amounts)})
	}
	return answer, nil
}
