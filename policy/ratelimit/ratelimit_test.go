package ratelimit

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mcpgateway/policy"
)

var start = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

func rated(perSecond float64, burst int) policy.Quota {
	return policy.Quota{Rate: &policy.Rate{PerSecond: perSecond, Burst: burst}}
}

func capped(concurrent int) policy.Quota { return policy.Quota{Concurrent: concurrent} }

// everything has a limit at every place, of which one is as given.
func everything(change func(*policy.Policy)) *policy.Policy {
	p := &policy.Policy{
		Limits: policy.Limits{Gateway: rated(1000, 1000), PerIdentity: rated(1000, 1000), Projects: map[string]policy.Quota{"alpha": rated(1000, 1000)}},
		Servers: map[string]policy.Server{
			"files": {Project: "alpha", Quota: rated(1000, 1000), Tools: map[string]policy.Tool{"report": {Quota: rated(1000, 1000)}}},
			"other": {Project: "alpha"},
			"free":  {Project: "beta"},
		},
	}
	change(p)
	return p
}

func setQuota(p *policy.Policy, where string, q policy.Quota) {
	switch where {
	case "gateway":
		p.Limits.Gateway = q
	case "caller":
		p.Limits.PerIdentity = q
	case "project":
		p.Limits.Projects["alpha"] = q
	case "server":
		s := p.Servers["files"]
		s.Quota = q
		p.Servers["files"] = s
	case "tool":
		p.Servers["files"].Tools["report"] = policy.Tool{Quota: q}
	}
}

func report(now time.Time) Call {
	return Call{Subject: "key:a", Server: "files", Tool: "report", Now: now}
}

// refused wants an error of this package that names what.
func refused(t *testing.T, err error, what string) *Error {
	t.Helper()
	var limit *Error
	if !errors.As(err, &limit) || limit.What != what {
		t.Fatalf("got %v, want a refusal of %s", err, what)
	}
	return limit
}

func enter(t *testing.T, l *Limits, c Call) Pass {
	t.Helper()
	pass, err := l.Enter(c)
	if err != nil {
		t.Fatal(err)
	}
	return pass
}

// Whichever limit is reached, nothing was taken of the others, it says which one it
// is, and when to come again, which is true.
func TestEveryLimitBounds(t *testing.T) {
	t.Parallel()
	whats := map[string]string{
		"gateway": "the gateway", "caller": "this caller", "project": `project "alpha"`,
		"server": `server "files"`, "tool": `tool "report" of server "files"`,
	}
	for where, what := range whats {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			table := New()
			l := table.With(everything(func(p *policy.Policy) { setQuota(p, where, rated(2, 3)) }))
			for range 3 {
				enter(t, l, report(start))
			}
			for range 5000 { // more than any other bucket holds
				_, err := l.Enter(report(start))
				limit := refused(t, err, what)
				if limit.Concurrent || limit.RetryAfter != time.Second/2 || !strings.Contains(err.Error(), "2 requests a second, 3 at once: try again in 500ms") {
					t.Fatalf("got %+v, %v", limit, err)
				}
			}
			if _, err := l.Enter(report(start.Add(time.Second/2 - time.Millisecond))); err == nil {
				t.Error("got in before the time")
			}
			enter(t, l, report(start.Add(time.Second/2)))
			// The others have lost one for each that got in.
			unbounded := table.With(everything(func(p *policy.Policy) { setQuota(p, where, policy.Quota{}) }))
			for range 996 {
				enter(t, unbounded, report(start))
			}
		})
	}
}

func TestLimitsAreForWhatTheyName(t *testing.T) {
	t.Parallel()
	l := New().With(everything(func(p *policy.Policy) {
		p.Limits.PerIdentity = rated(1, 2)
		setQuota(p, "tool", rated(1, 1))
	}))
	enter(t, l, report(start))
	_, err := l.Enter(report(start))
	refused(t, err, `tool "report" of server "files"`)
	enter(t, l, Call{Subject: "key:b", Server: "files", Tool: "else", Now: start})
	enter(t, l, Call{Subject: "key:b", Server: "files", Now: start})
	_, err = l.Enter(Call{Subject: "key:b", Server: "free", Now: start})
	refused(t, err, "this caller")
	enter(t, l, Call{Subject: "key:c", Server: "unknown", Now: start})
}

// A request that comes through the door is counted there once, and further on once
// for each server.
func TestDoorAndServer(t *testing.T) {
	t.Parallel()
	l := New().With(everything(func(p *policy.Policy) {
		p.Limits.Gateway, p.Limits.PerIdentity = capped(1), policy.Quota{}
		setQuota(p, "server", capped(2))
	}))
	door, err := l.EnterGateway(report(start))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := l.EnterServer(report(start)); err != nil {
			t.Fatal(err)
		}
	}
	_, err = l.EnterServer(report(start))
	refused(t, err, `server "files"`)
	_, err = l.EnterGateway(report(start))
	refused(t, err, "the gateway")
	door.Leave()
	if _, err := l.EnterGateway(report(start)); err != nil {
		t.Error(err)
	}
}

func TestPlacesComeBack(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"gateway", "caller", "project", "server", "tool"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			l := New().With(everything(func(p *policy.Policy) { setQuota(p, where, capped(2)) }))
			first, _ := enter(t, l, report(start)), enter(t, l, report(start))
			_, err := l.Enter(report(start))
			var limit *Error
			if !errors.As(err, &limit) || !limit.Concurrent || limit.RetryAfter <= 0 || !strings.Contains(err.Error(), "2 requests in flight") {
				t.Fatalf("got %v", err)
			}
			first.Leave()
			first.Leave() // does nothing
			enter(t, l, report(start))
			if _, err := l.Enter(report(start)); err == nil {
				t.Error("got a place that was given back once, twice")
			}
		})
	}
}

// A reload refills nothing and forgets nobody who is in flight; limits change at once.
func TestReloadKeepsLevels(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"gateway", "caller", "project", "server", "tool"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			table := New()
			with := func(q policy.Quota) *Limits {
				return table.With(everything(func(p *policy.Policy) { setQuota(p, where, q) }))
			}
			l := with(rated(1, 10))
			for range 10 {
				enter(t, l, report(start))
			}
			if _, err := with(rated(1, 10)).Enter(report(start)); err == nil {
				t.Error("got in after a reload")
			}
			if _, err := with(rated(1, 1000)).Enter(report(start)); err == nil {
				t.Error("got in after a reload with a larger burst")
			}
			l = with(rated(100, 1)) // faster and smaller: of the second that passes, one token
			enter(t, l, report(start.Add(time.Second)))
			if _, err := l.Enter(report(start.Add(time.Second))); err == nil {
				t.Error("got in above the new burst")
			}
			if _, err := with(capped(11)).Enter(report(start)); err == nil {
				t.Error("got in although eleven are in flight")
			}
			enter(t, with(capped(12)), report(start))
		})
	}
}

// Requests do not come in the order of their times, and clocks are set back: nobody
// gets a token for that.
func TestTimeDoesNotGoBack(t *testing.T) {
	t.Parallel()
	l := New().With(everything(func(p *policy.Policy) { setQuota(p, "server", rated(1, 1)) }))
	enter(t, l, report(start))
	enter(t, l, report(start.Add(time.Second)))
	for range 10 {
		for _, at := range []time.Duration{-time.Hour, 0, time.Second} {
			if _, err := l.Enter(report(start.Add(at))); err == nil {
				t.Fatalf("got in at %s", at)
			}
		}
	}
}

// However many identities there are, what is remembered of them is bounded, and nobody
// gets a fresh burst by being forgotten.
func TestCallersAreBounded(t *testing.T) {
	t.Parallel()
	table := New()
	l := table.With(&policy.Policy{Limits: policy.Limits{PerIdentity: rated(0.001, 1)}})
	in := 0
	for i := range shards * (maxCallers + 200) {
		if pass, err := l.Enter(Call{Subject: fmt.Sprint("key:", i), Now: start}); err == nil {
			pass.Leave()
			in++
		}
	}
	known := 0
	for i := range table.callers.shards {
		known += len(table.callers.shards[i].known)
	}
	if known > shards*maxCallers || in > known+shards {
		t.Errorf("got %d buckets and %d let in, want at most %d, and one for each and %d shared", known, in, shards*maxCallers, shards)
	}
	again := 0
	for i := range 1000 {
		if _, err := l.Enter(Call{Subject: fmt.Sprint("key:", i), Now: start.Add(time.Second)}); err == nil {
			again++
		}
	}
	if again > 0 {
		t.Errorf("got %d callers in again", again)
	}
	// A quarter of an hour later all are full again and make room.
	late := start.Add(1001 * time.Second)
	for i := range 10 * shards {
		enter(t, l, Call{Subject: fmt.Sprint("new:", i), Now: late})
	}
	known = 0
	for i := range table.callers.shards {
		known += len(table.callers.shards[i].known)
	}
	if known > 100*shards {
		t.Errorf("got %d buckets left, want few", known)
	}
}

// Who is in flight is not forgotten.
func TestCallerInFlightStays(t *testing.T) {
	t.Parallel()
	l := New().With(&policy.Policy{Limits: policy.Limits{PerIdentity: capped(1)}})
	held := enter(t, l, Call{Subject: "key:a", Now: start})
	for i := range 10_000 {
		pass := enter(t, l, Call{Subject: fmt.Sprint("key:", i), Now: start.Add(time.Duration(i) * time.Millisecond)})
		pass.Leave()
	}
	if _, err := l.Enter(Call{Subject: "key:a", Now: start.Add(time.Hour)}); err == nil {
		t.Error("got in twice at a time")
	}
	held.Leave()
	enter(t, l, Call{Subject: "key:a", Now: start.Add(time.Hour)})
}

// No token and no place is made or lost by many at a time, reloads among them.
func TestConcurrentEnter(t *testing.T) {
	t.Parallel()
	const most = 3
	table := New()
	p := everything(func(p *policy.Policy) {
		p.Limits.Gateway, p.Limits.PerIdentity = policy.Quota{}, policy.Quota{Concurrent: most}
		setQuota(p, "project", policy.Quota{})
		setQuota(p, "server", policy.Quota{Concurrent: 2 * most})
		setQuota(p, "tool", rated(0.001, 1000))
	})
	var in, highest, let atomic.Int64
	var running sync.WaitGroup
	for i := range 8 {
		running.Go(func() {
			for n := range 2000 {
				if n%100 == 0 {
					table.With(p)
				}
				// Callers that come and go share shards with those that stay.
				call := Call{Subject: fmt.Sprint("key:", i%2), Server: "files", Tool: "report", Now: start}
				if n%3 == 0 {
					call.Subject = fmt.Sprint("key:", i, n)
				}
				pass, err := table.With(p).Enter(call)
				if err != nil {
					continue
				}
				let.Add(1)
				now := in.Add(1)
				for was := highest.Load(); now > was && !highest.CompareAndSwap(was, now); was = highest.Load() {
				}
				in.Add(-1)
				pass.Leave()
			}
		})
	}
	running.Wait()
	if let.Load() != 1000 || highest.Load() > 2*most {
		t.Errorf("got %d let in, at most %d at a time, want 1000, and %d", let.Load(), highest.Load(), 2*most)
	}
	free := table.With(everything(func(p *policy.Policy) {
		p.Limits.PerIdentity = capped(most)
		setQuota(p, "server", capped(most))
		setQuota(p, "tool", policy.Quota{})
	}))
	for range most { // every place is there again
		enter(t, free, Call{Subject: "key:0", Server: "files", Now: start})
	}
}

func BenchmarkEnter(b *testing.B) {
	l := New().With(everything(func(p *policy.Policy) {
		for _, where := range []string{"gateway", "caller", "project", "server", "tool"} {
			setQuota(p, where, policy.Quota{Rate: &policy.Rate{PerSecond: 1e9, Burst: 1e9}, Concurrent: 1000})
		}
	}))
	b.ReportAllocs()
	for b.Loop() {
		pass, err := l.Enter(report(time.Now()))
		if err != nil {
			b.Fatal(err)
		}
		pass.Leave()
	}
}

func BenchmarkEnterCallers(b *testing.B) {
	l := New().With(&policy.Policy{Limits: policy.Limits{PerIdentity: rated(1e9, 1e9)}})
	b.ReportAllocs()
	var next atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		subject := fmt.Sprint("key:", next.Add(1))
		for pb.Next() {
			pass, err := l.Enter(Call{Subject: subject, Server: "files", Now: time.Now()})
			if err != nil {
				b.Error(err)
				return
			}
			pass.Leave()
		}
	})
}

// What has no answer is never in flight, and takes of the rates all the same.
func TestUnanswered(t *testing.T) {
	t.Parallel()
	l := New().With(&policy.Policy{Limits: policy.Limits{Gateway: policy.Quota{Rate: &policy.Rate{PerSecond: 0.001, Burst: 3}, Concurrent: 1}}})
	request := Call{Subject: "a", Now: start}
	first, err := l.EnterGateway(request)
	if err != nil {
		t.Fatal(err)
	}
	note := request
	note.Unanswered = true
	for i := range 3 {
		pass, err := l.EnterGateway(note)
		if (err == nil) != (i < 2) {
			t.Errorf("number %d: got %v", i+1, err)
		}
		pass.Leave()
	}
	first.Leave()
}
