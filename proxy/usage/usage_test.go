package usage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/egress"
	"mcpgateway/proxy/ledger"
	"mcpgateway/proxy/ledgertest"
	"mcpgateway/proxy/quota"
	"mcpgateway/proxy/telemetry"
	"mcpgateway/runtime/control"
)

// clock is a time that a test sets.
type clock struct{ at atomic.Pointer[time.Time] }

func (c *clock) now() time.Time      { return *c.at.Load() }
func (c *clock) set(t time.Time)     { c.at.Store(&t) }
func (c *clock) add(d time.Duration) { c.set(c.now().Add(d)) }

func noon() *clock {
	var c clock
	c.set(time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC))
	return &c
}

// rules is a policy with a ledger and two servers, of which everybody uses one.
func rules(change ...func(*policy.Policy)) *policy.Policy {
	p := &policy.Policy{Usage: &policy.Usage{}, Servers: map[string]policy.Server{
		"files": {Project: "acme"}, "search": {Project: "acme", Instances: policy.InstancesShared}, "mail": {Project: "other"},
	}}
	for _, c := range change {
		c(p)
	}
	return p
}

// running is a Meter that runs, and a function that stops it as the gateway does.
func running(t *testing.T, folder string, now func() time.Time, p *policy.Policy) (m *Meter, stop func()) {
	t.Helper()
	m = New(Options{Folder: folder, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: now})
	if err := m.Apply(p); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return m, stop
}

// call is a call of a tool that reached a server.
func call(m *Meter, change ...func(*telemetry.Call)) error {
	c := &telemetry.Call{
		Transport: "http", Caller: &policy.Identity{Subject: "key:1"}, Project: "acme", Server: "files", Method: "tools/call", Tool: "read",
		Started: m.now(), Status: "ok", Instance: "i-1", BytesIn: 10, BytesOut: 100, Duration: time.Millisecond,
	}
	for _, do := range change {
		do(c)
	}
	ctx := m.Begin(context.Background(), c)
	err := m.Enter(ctx, c)
	if err != nil {
		c.Instance, c.Status, c.Refused = "", "limited", true
	}
	m.End(ctx, c)
	return err
}

// report is what a Meter says of all time.
func report(t *testing.T, m *Meter, by ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := m.Report(ctx, ledger.Query{From: time.Unix(0, 0), To: m.now().Add(1000 * time.Hour), By: by})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, line := range r.Lines {
		lines = append(lines, strings.TrimSpace(strings.Join(line.By, "/")+" "+fmt.Sprint(line.Values())))
	}
	return strings.Join(lines, "; ")
}

func TestCallsAreCounted(t *testing.T) {
	t.Parallel()
	m, _ := running(t, t.TempDir(), noon().now, rules())
	calls := []struct {
		name   string
		change func(*telemetry.Call)
	}{
		{"one", func(*telemetry.Call) {}},
		{"one that failed", func(c *telemetry.Call) { c.Status = "tool-error" }},
		{"of another", func(c *telemetry.Call) { c.Caller.Subject = "key:2" }},
		{"that was refused", func(c *telemetry.Call) { c.Instance, c.Status = "", "forbidden" }},
		{"a prompt", func(c *telemetry.Call) { c.Method, c.Tool = "prompts/get", "" }},
		{"of the gateway itself", func(c *telemetry.Call) { c.Transport = "" }},
		{"a list", func(c *telemetry.Call) { c.Method = "tools/list" }},
	}
	for _, one := range calls {
		if err := call(m, one.change); err != nil {
			t.Errorf("%s: %v", one.name, err)
		}
	}
	want := "key:1/prompts/get/ [1 0 0 10 100 1000 0 0 0 0]; key:1/tools/call/read [2 1 1 20 200 2000 0 0 0 0]; key:2/tools/call/read [1 0 0 10 100 1000 0 0 0 0]"
	if got := report(t, m, "identity", "method", "tool"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What clients make up does not fill the ledger, nor keep others out of it.
func TestToolNamesAreBounded(t *testing.T) {
	t.Parallel()
	m, _ := running(t, t.TempDir(), noon().now, rules())
	for i := range maxTools + 5 {
		_ = call(m, func(c *telemetry.Call) { c.Tool = fmt.Sprint("\x00", i) })
	}
	for range 3 {
		_ = call(m, func(c *telemetry.Call) { c.Server, c.Tool, c.Instance = "mail", "made up", "" })
	}
	_ = call(m, func(c *telemetry.Call) { c.Server, c.Tool = "mail", "send" })
	_ = call(m, func(c *telemetry.Call) { c.Server, c.Tool, c.Instance = "mail", "send", "" })
	got := report(t, m, "server", "tool")
	if n := strings.Count(got, "files/"); n != maxTools+1 || !strings.Contains(got, "files/other [5 ") {
		t.Errorf("got %d lines for a server's tools, want %d and one for 5 calls of others", n, maxTools)
	}
	if want := "mail/other [0 0 3 0 0 0 0 0 0 0]; mail/send [1 0 1 "; !strings.Contains(got, want) {
		t.Errorf("got %s, want %s", got[strings.Index(got, "mail"):], want)
	}
}

// Entries that can't be written are bounded, and sums are right all the same.
func TestEntriesAreBounded(t *testing.T) {
	t.Parallel()
	m := New(Options{Folder: t.TempDir(), Log: slog.New(slog.DiscardHandler), Now: noon().now})
	if err := m.Apply(rules()); err != nil {
		t.Fatal(err)
	}
	defer m.store.Close()
	const callers = maxEntries + 1000
	for i := range callers {
		_ = call(m, func(c *telemetry.Call) { c.Caller.Subject = fmt.Sprint("key:", i) })
		if len(m.open.files) >= maxFiles {
			m.shrink()
		}
	}
	if got := m.Stats().Pending; got != maxEntries+1 {
		t.Errorf("got %d entries, want %d", got, maxEntries+1)
	}
	var sum int64
	left, err := m.spool.remnants()
	if err != nil {
		t.Fatal(err)
	}
	b := ledger.Entries{}
	for i, r := range left {
		if !covered(r, i, left) {
			for k, a := range r.entries {
				b.Add(k, a)
			}
		}
	}
	for _, a := range b {
		sum += a.Calls
	}
	if sum != callers-int64(m.Stats().Unsafe) || len(left) > maxFiles+2 {
		t.Errorf("got %d calls in %d files, want %d in a few", sum, len(left), callers)
	}
}

func TestResources(t *testing.T) {
	t.Parallel()
	c := noon()
	start := c.now()
	m, _ := running(t, t.TempDir(), c.now, rules())
	box := func(id, server string, cpu time.Duration, memory int64) control.Sandbox {
		return control.Sandbox{ID: id, Server: server, Project: "acme", Started: start, Usage: control.Usage{CPU: cpu, Memory: memory}}
	}
	_ = call(m, func(c *telemetry.Call) { c.Instance, c.Caller.Subject = "own", "key:7" })
	_ = call(m, func(c *telemetry.Call) { c.Instance, c.Server = "shared", "search" })
	c.add(10 * time.Second)
	m.Sample(c.now(), []control.Sandbox{box("own", "files", 1500*time.Microsecond, 1<<20), box("shared", "search", time.Second, 1<<30)})
	c.add(10 * time.Second)
	m.Sample(c.now(), []control.Sandbox{box("own", "files", 2*time.Millisecond, 2<<20), box("shared", "search", 0, 0)}) // the second one ends
	c.add(5 * time.Second)
	m.Ended(control.Exit{Sandbox: "own", Server: "files", Usage: control.Usage{CPU: 3 * time.Millisecond}})
	m.Sample(c.now(), []control.Sandbox{box("own", "files", 2*time.Millisecond, 2<<20)}) // was on its way
	m.Ended(control.Exit{Sandbox: "shared", Server: "search", Usage: control.Usage{CPU: 2 * time.Second}})
	m.Ended(control.Exit{Sandbox: "short", Server: "mail", Lived: 2 * time.Second, Usage: control.Usage{CPU: time.Millisecond, MemoryPeak: 4 << 20}})
	m.Egress(egress.Record{Server: "mail", Project: "other", Sandbox: "x", Sent: 3, Received: 5})
	want := fmt.Sprintf("/files/key:7/ [0 0 0 0 0 0 3000 %d 0 0]; /mail// [0 0 0 0 0 0 1000 %d 3 5]; /search// [0 0 0 0 0 0 2000000 %d 0 0]; ",
		10*1024+15*2048, 2*4096, 25<<20)
	want = strings.ReplaceAll(want, "; ", ";")
	got := strings.ReplaceAll(report(t, m, "method", "server", "identity", "tool"), "; ", ";")
	if !strings.HasPrefix(got+";", want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

// However many calls come at once and however often the gateway is started again, a
// project gets exactly its budget.
func TestQuota(t *testing.T) {
	t.Parallel()
	const limit, callers, each = 500, 100, 10
	folder, c := t.TempDir(), noon()
	budget := func(p *policy.Policy) {
		p.Budgets = map[string]policy.Budget{"acme": {CallsPerDay: limit, WarnPercent: 80}}
	}
	var made atomic.Int64
	for round := range 3 {
		m, stop := running(t, folder, c.now, rules(budget))
		var calling sync.WaitGroup
		for range callers {
			calling.Go(func() {
				for range each / (3 - round) {
					var over *quota.Error
					switch err := call(m); {
					case err == nil:
						made.Add(1)
					case !errors.As(err, &over):
						t.Error(err)
					}
				}
			})
		}
		calling.Wait()
		if err := call(m, func(c *telemetry.Call) { c.Project, c.Server = "other", "mail" }); err != nil {
			t.Errorf("another project: %v", err)
		}
		if states := m.Quotas(); len(states) != 1 || states[0].Used != float64(made.Load()) {
			t.Errorf("got %+v, want %d used", states, made.Load())
		}
		stop()
	}
	if made.Load() != limit {
		t.Errorf("got %d calls, want %d", made.Load(), limit)
	}
	c.add(12 * time.Hour) // the next day
	m, _ := running(t, folder, c.now, rules(budget))
	if err := call(m); err != nil {
		t.Error(err)
	}
	if got := report(t, m, "project"); !strings.HasPrefix(got, fmt.Sprintf("acme [%d ", limit+1)) {
		t.Errorf("got %s, want %d calls", got, limit+1)
	}
}

// CPU that was used up refuses calls, and not what the servers do without them.
func TestQuotaOfCPU(t *testing.T) {
	t.Parallel()
	c := noon()
	m, _ := running(t, t.TempDir(), c.now, rules(func(p *policy.Policy) {
		p.Budgets = map[string]policy.Budget{"acme": {CPUSecondsPerMonth: 10}}
	}))
	use := func(cpu time.Duration) {
		c.add(time.Second)
		m.Sample(c.now(), []control.Sandbox{{ID: "a", Server: "files", Project: "acme", Started: c.now(), Usage: control.Usage{CPU: cpu}}})
	}
	use(9 * time.Second)
	if err := call(m); err != nil {
		t.Error(err)
	}
	use(10 * time.Second)
	if err := call(m); err == nil || !strings.Contains(err.Error(), "10 CPU seconds a month") {
		t.Errorf("got %v, want that CPU is used up", err)
	}
	if err := call(m, func(c *telemetry.Call) { c.Method = "tools/list" }); err != nil {
		t.Errorf("a list: %v", err)
	}
	c.set(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC))
	if err := call(m); err != nil {
		t.Errorf("in the next month: %v", err)
	}
}

// A budget that a reload brings knows what was used before.
func TestQuotaByReload(t *testing.T) {
	t.Parallel()
	m, _ := running(t, t.TempDir(), noon().now, rules())
	for range 3 {
		_ = call(m)
	}
	if err := m.Apply(rules(func(p *policy.Policy) { p.Budgets = map[string]policy.Budget{"acme": {CallsPerDay: 4}} })); err != nil {
		t.Fatal(err)
	}
	report(t, m) // between two writes: the one that Apply asked for comes first, or this one
	if err := call(m); err != nil {
		t.Errorf("the fourth of four: %v", err)
	}
	if err := call(m); err == nil {
		t.Error("the fifth of four got in")
	}
}

func TestRefusedPolicies(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	m := New(Options{Log: log})
	if err := m.Apply(&policy.Policy{}); err != nil {
		t.Errorf("without a ledger: %v", err)
	}
	if err := m.Apply(rules()); err == nil || !strings.Contains(err.Error(), "-state-dir") {
		t.Errorf("without a folder: got %v", err)
	}
	if _, err := m.Report(t.Context(), ledger.Query{To: time.Now()}); err == nil || !strings.Contains(err.Error(), "usage.enabled") {
		t.Errorf("got %v, want that there is no ledger", err)
	}
	m, _ = running(t, t.TempDir(), time.Now, rules())
	if err := m.Apply(rules(func(p *policy.Policy) { p.Usage.Database = "postgres://x" })); err == nil || !strings.Contains(err.Error(), "restart") {
		t.Errorf("another database: got %v", err)
	}
	if err := m.Apply(&policy.Policy{}); err != nil {
		t.Errorf("without a ledger any more: %v", err)
	}
	_ = call(m)
	if got := report(t, m); got != "" {
		t.Errorf("got %s after the ledger was turned off", got)
	}
}

// What is old is deleted, but not of this month: quotas are of it.
func TestRetention(t *testing.T) {
	t.Parallel()
	c, folder := noon(), t.TempDir()
	keep := func(p *policy.Policy) { p.Usage.Retention = 24 * time.Hour }
	m, stop := running(t, folder, c.now, rules(keep))
	c.set(time.Date(2026, 10, 31, 23, 0, 0, 0, time.UTC))
	_ = call(m)
	report(t, m)
	c.set(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	_ = call(m)
	report(t, m)
	c.set(time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC))
	stop()
	m, _ = running(t, folder, c.now, rules(keep))
	if got := report(t, m, "day"); !strings.HasPrefix(got, "2026-11-01 [1 ") {
		t.Errorf("got %s, want what is of this month", got)
	}
}

// While the database is away calls are counted, and follow when it is back; with a
// process that ends in between, too.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	server, folder := ledgertest.NewPostgres(t), t.TempDir()
	p := rules(func(p *policy.Policy) {
		p.Usage.Database = server.URL
		p.Budgets = map[string]policy.Budget{"other": {CallsPerDay: 5}}
	})
	m, stop := running(t, folder, time.Now, p)
	for range 100 {
		_ = call(m)
	}
	if got := report(t, m, "project"); !strings.HasPrefix(got, "acme [100 ") {
		t.Errorf("got %s, want 100 calls", got)
	}
	server.Stop()
	for range 50 {
		_ = call(m)
	}
	if _, err := m.Report(t.Context(), ledger.Query{From: time.Unix(0, 0), To: time.Now()}); err == nil {
		t.Error("got a report without a database")
	}
	stop()
	m, stop = running(t, folder, time.Now, p)
	for range 25 {
		_ = call(m)
	}
	if err := call(m, func(c *telemetry.Call) { c.Project, c.Server = "other", "mail" }); !errors.Is(err, quota.ErrUnknown) {
		t.Errorf("got %v, want that nobody knows what the project has used", err)
	}
	server.Start()
	m.nextTryNow(t)
	if got := report(t, m, "project"); !strings.HasPrefix(got, "acme [175 ") {
		t.Errorf("got %s, want 175 calls", got)
	}
	if err := call(m, func(c *telemetry.Call) { c.Project, c.Server = "other", "mail" }); err != nil {
		t.Error(err)
	}
	stop()
	if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
		t.Errorf("got %v, %v, want that nothing is left", left, err)
	}
}

// nextTryNow ends the wait after a write that failed.
func (m *Meter) nextTryNow(t *testing.T) {
	t.Helper()
	if err := m.do(t.Context(), func(context.Context) error {
		m.nextTry = time.Time{}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
