package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"mcpgateway/proxy/report"
	"mcpgateway/runtime/control"
)

// topEvery is how often top looks.
const topEvery = time.Second

func newTopCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch servers and sandboxes: CPU, memory, calls, latency",
		Long: `Watch servers and sandboxes, refreshed every second. Keys: q ends it, arrows or j
and k move, Enter shows a server and what it writes, s sorts (CPU, memory, calls,
name), r restarts a server once you say yes, ? lists all. Without a terminal, or
with --once, it prints one table. CALLS/S and P95 are those of the whole server.`,
		Example: "  mcp-gateway top\n  mcp-gateway top --once -o json",
		Args:    cobra.NoArgs,
	}
	state, form := stateFlag(cmd), outputFlag(cmd)
	once := cmd.Flags().Bool("once", false, "print one table, of one second")
	times := cmd.Flags().IntP("number", "n", 0, "print `N` tables, one a second")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *times < 0 {
			return misused("--number %d is no number of tables: use 1 or more", *times)
		}
		terminal := isTerminal(cmd.OutOrStdout()) && isTerminal(cmd.InOrStdin()) && form.format == "table"
		if terminal && !*once && *times == 0 {
			return watchTop(cmd.Context(), *state, os.Stdin, os.Stdout)
		}
		return printTop(cmd.Context(), *state, cmd.OutOrStdout(), form, max(1, *times))
	}
	return cmd
}

// printTop prints so many tables, each of one second.
func printTop(ctx context.Context, state string, out io.Writer, form *output, times int) error {
	before := look(ctx, state, "")
	for range times {
		if before.err != nil {
			return before.err
		}
		select {
		case <-time.After(topEvery):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		now := look(ctx, state, "")
		if now.err != nil {
			return now.err
		}
		rows := now.rows(before)
		slices.SortFunc(rows, topOrders()[0].compare)
		summary := now.summary(before, rows)
		document := topDocument{summary, rows}
		err := form.print(out, document, func(out io.Writer) error { return document.print(out) })
		if err != nil {
			return err
		}
		before = now
	}
	return nil
}

// snapshot is what is known at a time.
type snapshot struct {
	at        time.Time
	status    report.Status
	servers   []report.Server
	sandboxes []control.Sandbox
	detail    *report.Detail // of the server that is looked at, if there is one
	lines     []report.Line
	err       error
}

// look asks the proxy and the daemon, and about one server more, unless it is "".
func look(ctx context.Context, state, server string) (s snapshot) {
	ctx, cancel := context.WithTimeout(ctx, breakersWait)
	defer cancel()
	var all report.Servers
	if s.err = askProxy(ctx, state, "/status", "", &s.status); s.err != nil {
		return s
	}
	if s.err = askProxy(ctx, state, "/servers", "", &all); s.err != nil {
		return s
	}
	s.servers = all.Servers
	if s.sandboxes, s.err = listSandboxes(ctx, state); s.err != nil {
		return s
	}
	s.at = time.Now()
	if server == "" {
		return s
	}
	detail, err := serverDetail(ctx, state, server)
	if err != nil {
		return s // it may be gone, and the rest is good
	}
	s.detail = &detail
	_ = readLogs(ctx, state, server, 200, false, func(line report.Line) error { // what is missing is not shown
		s.lines = append(s.lines, line)
		return nil
	})
	return s
}

// topDocument is top -o json.
type topDocument struct {
	Gateway topSummary `json:"gateway"`
	Rows    []topRow   `json:"rows"`
}

// topSummary is the heading of top.
type topSummary struct {
	Name      string  `json:"name"`
	Ready     bool    `json:"ready"`
	Servers   int     `json:"servers"`
	Sandboxes int     `json:"sandboxes"`
	Sessions  int     `json:"sessions"`
	CPU       float64 `json:"cpu_percent"`
	Memory    int64   `json:"memory_bytes"`
	PerSecond float64 `json:"calls_per_second"`
	InFlight  int     `json:"in_flight"`
	Errors    int64   `json:"errors"` // of the last five minutes
}

// topRow is a sandbox, or a server that has none.
type topRow struct {
	Server      string       `json:"server"`
	Sandbox     string       `json:"sandbox,omitempty"`
	CPU         float64      `json:"cpu_percent"` // of one core
	Memory      int64        `json:"memory_bytes"`
	MemoryLimit int64        `json:"memory_limit_bytes,omitempty"`
	PIDs        int64        `json:"pids"`
	PerSecond   float64      `json:"calls_per_second"` // of the whole server
	P95         float64      `json:"p95_ms"`
	Errors      int64        `json:"errors"`
	State       report.State `json:"state"`
	Frozen      bool         `json:"frozen,omitempty"`
}

// rows are what is to be shown, by what has changed since another snapshot.
func (s snapshot) rows(before snapshot) []topRow {
	rows := []topRow{}
	seconds := s.at.Sub(before.at).Seconds()
	used := map[string]time.Duration{}
	for _, b := range before.sandboxes {
		used[b.ID] = b.Usage.CPU
	}
	totals := map[string]int64{}
	for _, b := range before.servers {
		totals[b.Name] = b.Load.Total
	}
	byServer := map[string][]control.Sandbox{}
	for _, one := range s.sandboxes {
		byServer[one.Server] = append(byServer[one.Server], one)
	}
	for _, server := range s.servers {
		row := topRow{Server: server.Name, P95: server.Load.P95, Errors: server.Load.Errors, State: server.State}
		if total, known := totals[server.Name]; known && seconds > 0 {
			row.PerSecond = max(0, float64(server.Load.Total-total)/seconds)
		}
		for _, one := range byServer[server.Name] {
			row := row
			row.Sandbox, row.Memory, row.MemoryLimit, row.PIDs, row.Frozen = one.ID, one.Usage.Memory, one.MemoryLimit, one.Usage.PIDs, one.Frozen
			if cpu, known := used[one.ID]; known && seconds > 0 {
				row.CPU = max(0, 100*(one.Usage.CPU-cpu).Seconds()/seconds)
			}
			rows = append(rows, row)
		}
		if len(byServer[server.Name]) == 0 {
			rows = append(rows, row)
		}
	}
	return rows
}

func (s snapshot) summary(before snapshot, rows []topRow) topSummary {
	sum := topSummary{
		Name: s.status.Gateway, Ready: s.status.Ready, Servers: len(s.servers), Sandboxes: len(s.sandboxes), Sessions: s.status.Sessions,
		InFlight: s.status.Load.InFlight, Errors: s.status.Load.Errors,
	}
	if seconds := s.at.Sub(before.at).Seconds(); seconds > 0 && !before.at.IsZero() {
		sum.PerSecond = max(0, float64(s.status.Load.Total-before.status.Load.Total)/seconds)
	}
	for _, row := range rows {
		sum.CPU += row.CPU
		sum.Memory += row.Memory
	}
	return sum
}

// String is the heading.
func (t topSummary) String() string {
	ready := "ready"
	if !t.Ready {
		ready = "not ready"
	}
	return fmt.Sprintf("%s: %s, %d servers, %d sandboxes, %d sessions | CPU %.1f%%, memory %s | %.1f calls/s, %d in flight, %d errors in 5 minutes",
		shown(t.Name), ready, t.Servers, t.Sandboxes, t.Sessions, t.CPU, mebibytes(t.Memory), t.PerSecond, t.InFlight, t.Errors)
}

func mebibytes(bytes int64) string { return fmt.Sprintf("%.1fMiB", float64(bytes)/(1<<20)) }

// topHeadings are the columns.
func topHeadings() []string {
	return []string{"SERVER", "SANDBOX", "CPU%", "MEMORY", "LIMIT", "PIDS", "CALLS/S", "P95", "ERRORS", "STATE"}
}

// cells are the columns of a row.
func (r topRow) cells() []any {
	sandbox, limit, state := r.Sandbox, "-", serverStateCell(r.State)
	if r.Sandbox == "" {
		return []any{r.Server, "-", "-", "-", "-", "-", fmt.Sprintf("%.1f", r.PerSecond), milliseconds(r.P95), errorsCell(r.Errors), state}
	}
	if r.MemoryLimit > 0 {
		limit = mebibytes(r.MemoryLimit)
	}
	if r.Frozen {
		state = clean("frozen")
	}
	return []any{
		r.Server, sandbox, fmt.Sprintf("%.1f", r.CPU), mebibytes(r.Memory), limit, r.PIDs,
		fmt.Sprintf("%.1f", r.PerSecond), milliseconds(r.P95), errorsCell(r.Errors), state,
	}
}

func (d topDocument) print(out io.Writer) error {
	if _, err := fmt.Fprintf(out, "%s\n\n", d.Gateway); err != nil {
		return err
	}
	t := newTable(out, topHeadings()...)
	for _, row := range d.Rows {
		t.row(row.cells()...)
	}
	return t.flush()
}

// topOrder is one way to sort.
type topOrder struct {
	name    string
	compare func(a, b topRow) int
}

func topOrders() []topOrder {
	by := func(name string, of func(topRow) float64) topOrder {
		return topOrder{name, func(a, b topRow) int {
			return cmp.Or(cmp.Compare(of(b), of(a)), byName(a, b))
		}}
	}
	return []topOrder{
		by("CPU", func(r topRow) float64 { return r.CPU }),
		by("memory", func(r topRow) float64 { return float64(r.Memory) }),
		by("calls", func(r topRow) float64 { return r.PerSecond }),
		{"name", byName},
	}
}

func byName(a, b topRow) int {
	return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.Sandbox, b.Sandbox))
}
