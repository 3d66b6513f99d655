package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// figures are what one line came to: times in microseconds, memory in bytes.
type figures struct {
	Calls        float64 `json:"calls"`
	PerSecond    float64 `json:"per_second"`
	P50          float64 `json:"p50_us"`
	P95          float64 `json:"p95_us"`
	P99          float64 `json:"p99_us"`
	GatewayCPU   float64 `json:"gateway_cpu_us"` // a call; daemon, proxy and up
	ServerCPU    float64 `json:"server_cpu_us"`
	GeneratorCPU float64 `json:"generator_cpu_us"` // of this process
	GatewayRSS   int64   `json:"gateway_rss"`
	ProxyRSS     int64   `json:"proxy_rss"`
	SessionPSS   float64 `json:"session_pss"`  // growth of the gateway for each session of the line
	InstancePSS  float64 `json:"instance_pss"` // of a server with its launcher
}

// run is one measurement of everything.
type run struct {
	figures []figures // of the lines, in their order
	starts  starts
}

// report is what all runs came to.
type report struct {
	Time    time.Time `json:"time"`
	Commit  string    `json:"commit"`
	Host    string    `json:"host"`
	CPUs    int       `json:"cpus"`
	Kernel  string    `json:"kernel"`
	Load    []string  `json:"load"` // of the host, before and after: 1 minute's
	Seconds float64   `json:"seconds"`
	Runs    int       `json:"runs"`
	Rows    []row     `json:"rows"`
	Starts  starts    `json:"starts"`
	Once    single    `json:"once"`
	Targets []target  `json:"targets"`

	lines []line
	runs  []run
}

// row is a line with its medians, and, as Ratio, each of them as a multiple of what
// direct HTTP needed with as many sessions in the same run.
type row struct {
	line
	figures
	Ratio *ratios `json:"ratio,omitempty"`
}

type ratios struct {
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50"`
	P95       float64 `json:"p95"`
	P99       float64 `json:"p99"`
	CPU       float64 `json:"cpu"` // the gateway's, of the direct server's
}

func newReport(o options, lines []line) *report {
	return &report{
		Time: time.Now().UTC().Truncate(time.Second), Commit: commit(), CPUs: runtime.NumCPU(), Kernel: kernel(), Load: []string{loadAverage()}, lines: lines,
		Host:    fmt.Sprintf("%d CPUs, %s/%s, %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version()),
		Seconds: o.duration.Seconds(), Runs: o.runs,
	}
}

func (r *report) end() {
	r.Load = append(r.Load, loadAverage())
	r.Rows = summarize(r.lines, r.runs)
	r.Starts = starts{
		ForkExec: median(r.runs, func(r run) float64 { return r.starts.ForkExec }),
		Bwrap:    median(r.runs, func(r run) float64 { return r.starts.Bwrap }),
		Sandbox:  median(r.runs, func(r run) float64 { return r.starts.Sandbox }),
		Prepared: median(r.runs, func(r run) float64 { return r.starts.Prepared }),
		Warm:     median(r.runs, func(r run) float64 { return r.starts.Warm }),
		Session:  median(r.runs, func(r run) float64 { return r.starts.Session }),
	}
	r.Targets = judge(r.Rows, r.Starts, r.Once)
}

func summarize(lines []line, runs []run) []row {
	rows := make([]row, len(lines))
	for i, l := range lines {
		of := func(f func(figures) float64) float64 {
			return median(runs, func(r run) float64 { return f(r.figures[i]) })
		}
		rows[i] = row{line: l, figures: figures{
			Calls: of(func(f figures) float64 { return f.Calls }), PerSecond: of(func(f figures) float64 { return f.PerSecond }),
			P50: of(func(f figures) float64 { return f.P50 }), P95: of(func(f figures) float64 { return f.P95 }), P99: of(func(f figures) float64 { return f.P99 }),
			GatewayCPU: of(func(f figures) float64 { return f.GatewayCPU }), ServerCPU: of(func(f figures) float64 { return f.ServerCPU }),
			GeneratorCPU: of(func(f figures) float64 { return f.GeneratorCPU }),
			GatewayRSS:   int64(of(func(f figures) float64 { return float64(f.GatewayRSS) })), ProxyRSS: int64(of(func(f figures) float64 { return float64(f.ProxyRSS) })),
			SessionPSS: of(func(f figures) float64 { return f.SessionPSS }), InstancePSS: of(func(f figures) float64 { return f.InstancePSS }),
		}}
		floor := slices.IndexFunc(lines, func(other line) bool {
			return other.System == direct && other.Transport == "http" && other.Sessions == l.Sessions && other.Rate == l.Rate
		})
		if floor >= 0 {
			ratio := func(f, g func(figures) float64) float64 {
				return median(runs, func(r run) float64 { return over(f(r.figures[i]), g(r.figures[floor])) })
			}
			same := func(f func(figures) float64) float64 { return ratio(f, f) }
			rows[i].Ratio = &ratios{
				PerSecond: same(func(f figures) float64 { return f.PerSecond }), P50: same(func(f figures) float64 { return f.P50 }),
				P95: same(func(f figures) float64 { return f.P95 }), P99: same(func(f figures) float64 { return f.P99 }),
				CPU: ratio(func(f figures) float64 { return f.GatewayCPU }, func(f figures) float64 { return f.ServerCPU }),
			}
		}
	}
	return rows
}

// over is 0 if there is nothing to compare with.
func over(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// median of what each run came to; of an even number the mean of the two in the middle.
func median(runs []run, of func(run) float64) float64 {
	var values []float64
	for _, r := range runs {
		values = append(values, of(r))
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

func (l line) label() string {
	words := []string{l.System, l.Transport, l.Era, l.Instances}
	if l.Rate > 0 {
		words = append(words, fmt.Sprintf("at %g/s", l.Rate))
	}
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "\n%s, commit %s, load %s, medians of %d runs of %gs\n", r.Host, r.Commit, strings.Join(r.Load, " to "), r.Runs, r.Seconds)
	if before, err := strconv.ParseFloat(r.Load[0], 64); err == nil && before > float64(r.CPUs)/2 {
		fmt.Fprint(out, "THE HOST WAS BUSY before the first run: these figures say little\n")
	}
	fmt.Fprint(out, "× is the ratio to direct HTTP with as many sessions in the same run; CPU is µs a call\n\n")
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "what\tsessions\treq/s\t×\tp50 µs\t×\tp95 µs\t×\tp99 µs\t×\tgateway CPU\t×\tserver CPU\tgenerator CPU\tgateway RSS MB\tKB/session\tKB/instance\t")
	for _, row := range r.Rows {
		ratio := row.Ratio
		if ratio == nil {
			ratio = &ratios{}
		}
		fmt.Fprintf(table, "%s\t%d\t%.0f\t%s\t%.0f\t%s\t%.0f\t%s\t%.0f\t%s\t%s\t%s\t%.1f\t%.1f\t%s\t%s\t%.0f\t\n", row.label(), row.Sessions,
			row.PerSecond, times(ratio.PerSecond), row.P50, times(ratio.P50), row.P95, times(ratio.P95), row.P99, times(ratio.P99),
			orDash("%.1f", row.GatewayCPU), times(ratio.CPU), row.ServerCPU, row.GeneratorCPU,
			orDash("%.1f", float64(row.GatewayRSS)/(1<<20)), perSession(row), row.InstancePSS/(1<<10))
	}
	table.Flush() //nolint:errcheck // as with what is printed otherwise
	r.printStarts(out)
	r.printOnce(out)
	printTargets(out, r.Targets)
}

// perSession is only said of many: the noise of a heap is larger than a few sessions.
func perSession(r row) string {
	if r.System == direct || r.Sessions < 16 {
		return "–"
	}
	return fmt.Sprintf("%.0f", r.SessionPSS/(1<<10))
}

func (r *report) printStarts(out io.Writer) {
	fmt.Fprint(out, "\nfrom a start to the first byte\n\n")
	base, name := r.Starts.Bwrap, "bwrap"
	if base == 0 {
		base, name = r.Starts.ForkExec, "fork/exec: bwrap is not installed"
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "what\tms\t× %s\t\n", name)
	for _, s := range []struct {
		what string
		took float64
	}{
		{"fork/exec", r.Starts.ForkExec}, {"bwrap --unshare-all", r.Starts.Bwrap}, {"sandbox, by the daemon", r.Starts.Sandbox}, {"the same, prepared", r.Starts.Prepared},
		{"session and first call, warm: 1", r.Starts.Warm}, {"session and first call, warm: 0", r.Starts.Session},
	} {
		fmt.Fprintf(table, "%s\t%s\t%s\t\n", s.what, orDash("%.2f", s.took), times(over(s.took, base)))
	}
	table.Flush() //nolint:errcheck // as with what is printed otherwise
}

func (r *report) printOnce(out io.Writer) {
	fmt.Fprintln(out)
	for _, a := range []struct {
		mib int
		answer
	}{{8, r.Once.Answer8}, {32, r.Once.Answer32}} {
		if a.Refused != "" {
			fmt.Fprintf(out, "an answer of %d MiB: refused: %s\n", a.mib, a.Refused)
			continue
		}
		fmt.Fprintf(out, "an answer of %d MiB: %.3f s, direct HTTP %.3f s; the proxy grew by %.1f × its size\n", a.mib, a.Seconds, a.Direct, a.Memory)
	}
	if c := r.Once.Crowd; c.Clients > 0 {
		mb := func(bytes int64) float64 { return float64(bytes) / (1 << 20) }
		fmt.Fprintf(out, "%d idle clients and %d idle sessions: RSS of the proxy %.1f MB before, %.1f MB with the clients, %.1f MB with both, %.1f MB when they have done nothing for 15 s, %.1f MB with %d sessions more that have streams\n",
			c.Clients, c.Sessions, mb(c.RSSBefore), mb(c.RSSClients), mb(c.RSSAtOnce), mb(c.RSS), mb(c.RSSStreams), c.Streams)
	}
	if t := r.Once.Tiny; t.Servers > 0 {
		fmt.Fprintf(out, "%d tiny servers, each with a sandbox and a session: all have answered after %.1f s; each costs %.0f KB (launcher %.0f, daemon %.0f, proxy %.0f) beside its own %.0f KB\n",
			t.Servers, t.Seconds, t.overhead()/1024, t.Launcher/1024, t.Daemon/1024, t.Proxy/1024, t.Server/1024)
	}
	if c := r.Once.Churn; c.Sessions > 0 {
		fmt.Fprintf(out, "%d sessions opened and closed, %.0f a second: RSS of the proxy %.1f MB after a tenth, %.1f MB at the end\n",
			c.Sessions, c.PerSecond, float64(c.RSSEarly)/(1<<20), float64(c.RSSLate)/(1<<20))
	}
}

func times(ratio float64) string { return orDash("%.2f", ratio) }

func orDash(format string, value float64) string {
	if value == 0 {
		return "–"
	}
	return fmt.Sprintf(format, value)
}

// remember appends the report as one line.
func (r *report) remember(path string) (err error) {
	if path == "" {
		return nil
	}
	encoded, err := json.Marshal(r)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	_, err = file.Write(append(encoded, '\n'))
	return err
}

// commit is that of the folder, with a mark if it is not what is in there.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func kernel() string {
	content, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(content))
}

func loadAverage() string {
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(content), " ")
	return cmp.Or(first, "unknown")
}
