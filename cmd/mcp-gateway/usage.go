package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"math/big"
	neturl "net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mcpgateway/proxy/report"
)

// defaultPrices is the price list that is used if it is there.
const defaultPrices = "/etc/mcp-gateway/prices.yaml"

func newUsageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "usage",
		Short: "Sum up what projects, servers and callers have used",
		Long: `Sum up what projects, servers and callers have used: calls, bytes, time, CPU, memory
and network traffic, from the ledger of a running gateway, to this moment. With a price
list, say what that costs.

Times are in UTC: a date, a time as in RFC 3339, or how long ago (-24h, -30d). The ledger
has whole hours: the one that a time is in counts.`,
		Example: `  mcp-gateway usage --from -24h --by tool
  mcp-gateway usage --project acme --by identity,day --format csv`,
		Args: cobra.NoArgs,
	}
	var ask usageQuery
	state, form := stateFlag(cmd), outputFlag(cmd, "csv")
	flags := cmd.Flags()
	flags.Var(form, "format", "the same as --output")
	flags.StringVar(&ask.project, "project", "", "of one `PROJECT`; default: all")
	flags.StringVar(&ask.server, "server", "", "of one `SERVER`")
	flags.StringVar(&ask.identity, "identity", "", "of one `CALLER`, as the audit log has it")
	flags.StringVar(&ask.from, "from", "", "from this `TIME` on; default: the first of the month")
	flags.StringVar(&ask.to, "to", "", "until this `TIME`; default: now")
	flags.StringSliceVar(&ask.by, "by", []string{"project", "server"}, "a line for each: "+strings.Join(usageDimensions(), ", "))
	prices := flags.String("prices", "", "price list `FILE`; default: "+defaultPrices+" if it is there")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		list, err := findPrices(*prices)
		if err != nil {
			return err
		}
		sums, err := askUsage(cmd.Context(), *state, ask, list, time.Now())
		if err != nil {
			return err
		}
		if form.format == "csv" {
			return sums.writeCSV(cmd.OutOrStdout())
		}
		return form.print(cmd.OutOrStdout(), sums.document(), sums.printTable)
	}
	return cmd
}

// usageDimensions are what lines can be for.
func usageDimensions() []string {
	return []string{"project", "server", "identity", "tool", "method", "day", "hour"}
}

// usageQuery is what was asked on the command line.
type usageQuery struct {
	project, server, identity, from, to string
	by                                  []string
}

// parseMoment reads a date, a time, or how long ago.
func parseMoment(text string, now time.Time) (time.Time, error) {
	for _, form := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(form, text); err == nil {
			return t.UTC(), nil
		}
	}
	if ago, found := strings.CutPrefix(text, "-"); found {
		if days, inDays := strings.CutSuffix(ago, "d"); inDays {
			ago = days + "h"
		}
		if d, err := time.ParseDuration(ago); err == nil && d >= 0 {
			if strings.HasSuffix(text, "d") {
				d *= 24
			}
			return now.UTC().Add(-d), nil
		}
	}
	return time.Time{}, misused("%.40q is no time: write a date (2026-11-28), a time (2026-11-28T15:00:00Z), or how long ago (-24h, -30d)", text)
}

// parameters are what the proxy is asked. With prices, tools are told apart whatever was
// asked: they have prices of their own.
func (q usageQuery) parameters(priced bool, now time.Time) (neturl.Values, error) {
	for i, by := range q.by {
		if !slices.Contains(usageDimensions(), by) || slices.Contains(q.by[:i], by) {
			return nil, misused("--by %.40q: write one or several of %s, each once", by, strings.Join(usageDimensions(), ", "))
		}
	}
	from, to := time.Date(now.UTC().Year(), now.UTC().Month(), 1, 0, 0, 0, 0, time.UTC), now.UTC()
	var err error
	if q.from != "" {
		if from, err = parseMoment(q.from, now); err != nil {
			return nil, err
		}
	}
	if q.to != "" {
		if to, err = parseMoment(q.to, now); err != nil {
			return nil, err
		}
	}
	by := slices.Clone(q.by)
	for _, own := range []string{"project", "server", "tool"} {
		if priced && !slices.Contains(by, own) {
			by = append(by, own)
		}
	}
	return neturl.Values{
		"project": {q.project}, "server": {q.server}, "identity": {q.identity},
		"from": {from.Format(time.RFC3339)}, "to": {to.Format(time.RFC3339)}, "by": {strings.Join(by, ",")},
	}, nil
}

// usageSums is what is printed.
type usageSums struct {
	from, to time.Time
	by       []string
	lines    []usageSum
	total    usageSum
	prices   *priceList // nil: nothing has a price
}

// usageSum is one line, and what it costs, exactly.
type usageSum struct {
	by []string
	report.Used
	amount *big.Rat
}

// askUsage asks the proxy, and sums up by what was asked for.
func askUsage(ctx context.Context, state string, q usageQuery, prices *priceList, now time.Time) (*usageSums, error) {
	parameters, err := q.parameters(prices != nil, now)
	if err != nil {
		return nil, err
	}
	var answer report.Usage
	if err := askProxyFor(ctx, state, "/usage", parameters, &answer); err != nil {
		return nil, err
	}
	sums := &usageSums{from: answer.From, to: answer.To, by: q.by, prices: prices, total: usageSum{amount: new(big.Rat)}}
	index := map[string]int{}
	for _, line := range answer.Lines {
		if len(line.By) != len(answer.By) || len(line.By) < len(q.by) {
			return nil, fmt.Errorf("the proxy's answer has a line for %d things, want %d", len(line.By), len(answer.By))
		}
		own := line.By[:len(q.by)]
		name := strings.Join(own, "\x00")
		i, there := index[name]
		if !there {
			i = len(sums.lines)
			index[name] = i
			sums.lines = append(sums.lines, usageSum{by: own, amount: new(big.Rat)})
		}
		amount := new(big.Rat)
		if prices != nil {
			amount = prices.amount(answer.By, line.By, &line.Used)
		}
		for _, sum := range []*usageSum{&sums.lines[i], &sums.total} {
			sum.Add(line.Used)
			sum.amount.Add(sum.amount, amount)
		}
	}
	slices.SortFunc(sums.lines, func(a, b usageSum) int { return slices.Compare(a.by, b.by) })
	return sums, nil
}

// exact is a number of millionths and such, as a decimal.
func exact(count int64, per int64, digits int) string {
	return big.NewRat(count, per).FloatString(digits)
}

const (
	microseconds  = int64(time.Second / time.Microsecond)
	gibHour       = (1 << 20) * 3600 // in KiB-seconds
	secondDigits  = 6
	gibHourDigits = 9
	tableDigits   = 3
	gigabyte      = 1_000_000_000
)

func (s *usageSums) printTable(out io.Writer) error {
	headings := append([]string{}, s.by...)
	for i := range headings {
		headings[i] = strings.ToUpper(headings[i])
	}
	if len(headings) == 0 {
		headings = []string{""}
	}
	headings = append(headings, "CALLS", "ERRORS", "REFUSED", "IN", "OUT", "TIME", "CPU", "GIB-HOURS", "EGRESS")
	if s.prices != nil {
		headings = append(headings, strings.ToUpper(s.prices.Currency))
	}
	table := newTable(out, headings...)
	for _, line := range s.lines {
		if len(s.by) > 0 {
			table.row(s.row(line, line.by)...)
		}
	}
	label := make([]string, max(1, len(s.by)))
	label[0] = "TOTAL"
	table.row(s.row(s.total, label)...)
	if err := table.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%s to %s\n", s.from.Format(time.RFC3339), s.to.Format(time.RFC3339))
	return err
}

func (s *usageSums) row(line usageSum, names []string) (cells []any) {
	for _, name := range names {
		if name == "" {
			name = "-"
		}
		cells = append(cells, name)
	}
	cells = append(cells, line.Calls, line.Errors, line.Refused, byteSize(line.BytesIn), byteSize(line.BytesOut),
		exact(line.WallMicros, microseconds, tableDigits)+"s", exact(line.CPUMicros, microseconds, tableDigits)+"s",
		exact(line.MemoryKiBSeconds, gibHour, tableDigits), byteSize(line.EgressSent+line.EgressReceived))
	if s.prices != nil {
		cells = append(cells, s.prices.round(line.amount))
	}
	return cells
}

// byteSize is a number of bytes for people.
func byteSize(n int64) string {
	unit, size := "B", big.NewRat(n, 1)
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if size.Cmp(big.NewRat(1024, 1)) < 0 {
			break
		}
		unit, size = next, size.Mul(size, big.NewRat(1, 1024))
	}
	if unit == "B" {
		return size.FloatString(0) + unit
	}
	return size.FloatString(1) + unit
}

func (s *usageSums) writeCSV(out io.Writer) error {
	w := csv.NewWriter(out)
	headings := append(slices.Clone(s.by), "calls", "errors", "refused", "bytes_in", "bytes_out", "wall_seconds", "cpu_seconds",
		"memory_gib_hours", "egress_sent_bytes", "egress_received_bytes")
	if s.prices != nil {
		headings = append(headings, "amount", "currency")
	}
	if err := w.Write(headings); err != nil {
		return err
	}
	for _, line := range s.lines {
		var row []string
		for _, name := range line.by {
			row = append(row, harmless(name))
		}
		row = append(row, fmt.Sprint(line.Calls), fmt.Sprint(line.Errors), fmt.Sprint(line.Refused), fmt.Sprint(line.BytesIn), fmt.Sprint(line.BytesOut),
			exact(line.WallMicros, microseconds, secondDigits), exact(line.CPUMicros, microseconds, secondDigits),
			exact(line.MemoryKiBSeconds, gibHour, gibHourDigits), fmt.Sprint(line.EgressSent), fmt.Sprint(line.EgressReceived))
		if s.prices != nil {
			row = append(row, s.prices.round(line.amount), s.prices.Currency)
		}
		if err := w.Write(row); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

// harmless is a text that neither steers a terminal nor is a formula to a spreadsheet:
// clients choose names.
func harmless(text string) string {
	text = shown(text)
	if text != "" && strings.ContainsRune("=+-@", rune(text[0])) {
		return "'" + text
	}
	return text
}

// usageDocument is usage -o json.
type usageDocument struct {
	From     time.Time      `json:"from"`
	To       time.Time      `json:"to"`
	Currency string         `json:"currency,omitempty"`
	Lines    []usageAmounts `json:"lines"`
	Total    usageAmounts   `json:"total"`
}

// usageAmounts is a line of it, with what it is of if that was asked for.
type usageAmounts struct {
	Project  *string `json:"project,omitempty"`
	Server   *string `json:"server,omitempty"`
	Identity *string `json:"identity,omitempty"`
	Tool     *string `json:"tool,omitempty"`
	Method   *string `json:"method,omitempty"`
	Day      *string `json:"day,omitempty"`
	Hour     *string `json:"hour,omitempty"`

	Calls          int64  `json:"calls"`
	Errors         int64  `json:"errors"`
	Refused        int64  `json:"refused"`
	BytesIn        int64  `json:"bytes_in"`
	BytesOut       int64  `json:"bytes_out"`
	WallSeconds    string `json:"wall_seconds"` // decimals, so that none is lost
	CPUSeconds     string `json:"cpu_seconds"`
	GiBHours       string `json:"memory_gib_hours"`
	EgressSent     int64  `json:"egress_sent_bytes"`
	EgressReceived int64  `json:"egress_received_bytes"`
	Amount         string `json:"amount,omitempty"`
}

func (s *usageSums) document() usageDocument {
	d := usageDocument{From: s.from, To: s.to, Lines: []usageAmounts{}, Total: s.amounts(s.total)}
	if s.prices != nil {
		d.Currency = s.prices.Currency
	}
	for _, line := range s.lines {
		d.Lines = append(d.Lines, s.amounts(line))
	}
	return d
}

func (s *usageSums) amounts(line usageSum) usageAmounts {
	a := usageAmounts{
		Calls: line.Calls, Errors: line.Errors, Refused: line.Refused, BytesIn: line.BytesIn, BytesOut: line.BytesOut,
		WallSeconds: exact(line.WallMicros, microseconds, secondDigits), CPUSeconds: exact(line.CPUMicros, microseconds, secondDigits),
		GiBHours: exact(line.MemoryKiBSeconds, gibHour, gibHourDigits), EgressSent: line.EgressSent, EgressReceived: line.EgressReceived,
	}
	if s.prices != nil {
		a.Amount = s.prices.round(line.amount)
	}
	names := map[string]**string{
		"project": &a.Project, "server": &a.Server, "identity": &a.Identity, "tool": &a.Tool, "method": &a.Method, "day": &a.Day, "hour": &a.Hour,
	}
	for i := range line.by {
		*names[s.by[i]] = &line.by[i]
	}
	return a
}
