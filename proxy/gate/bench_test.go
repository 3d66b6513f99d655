package gate

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/policy"
	"mcpgateway/policy/audit"
	"mcpgateway/policy/ratelimit"
	"mcpgateway/policy/rbac"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/metrics"
	"mcpgateway/proxy/proxytest"
	"mcpgateway/proxy/recent"
	"mcpgateway/proxy/telemetry"
	"mcpgateway/proxy/tracing"
	"mcpgateway/proxy/usage"
)

// BenchmarkGuard measures what the guard adds to a call: of itself, with 1,000 rules
// and limits, with the audit log, whose writer works beside it, with metrics, and with
// spans, which nobody takes, or with none of those that could be.
func BenchmarkGuard(b *testing.B) {
	p := &policy.Policy{Servers: map[string]policy.Server{"files": {
		Project: "alpha", Quota: ample(),
		Objective: policy.Objective{Availability: 99.9, Latency: time.Second, LatencyTarget: 99, Window: 720 * time.Hour},
	}}}
	p.Metrics = policy.Metrics{Enabled: true, Counters: map[string]policy.Counter{
		"reads": {Tools: []string{"read_file"}, Labels: map[string]string{"path": "arguments.path"}}, "writes": {Tools: []string{"write_file"}},
	}}
	p.Limits.Gateway, p.Limits.PerIdentity = ample(), ample()
	for _, test := range []struct {
		name                string
		rules, audit, count bool
		tracing             *policy.Tracing
	}{
		{name: "alone"},
		{name: "metrics", count: true},
		{name: "sampled out", tracing: &policy.Tracing{Endpoint: "http://127.0.0.1:1", Sample: 0}},
		{name: "sampled", tracing: &policy.Tracing{Endpoint: "http://127.0.0.1:1", Sample: 1}},
		{name: "rules", rules: true},
		{name: "rules and audit", rules: true, audit: true},
		{name: "all", rules: true, audit: true, count: true, tracing: &policy.Tracing{Endpoint: "http://127.0.0.1:1", Sample: 0}},
	} {
		b.Run(test.name, func(b *testing.B) {
			rules := Rules{Policy: p}
			if test.rules {
				rules.RBAC, rules.Limits = thousandRules(b), ratelimit.New().With(p)
			}
			if test.audit {
				rules.Audit = recording(b)
			}
			quiet := slog.New(slog.DiscardHandler)
			if test.count {
				rules.Observers = append(rules.Observers, metrics.New(nothing{}, quiet).Apply(p))
			}
			if test.tracing != nil {
				tracer := tracing.New(quiet)
				if err := tracer.Apply("bench", test.tracing); err != nil {
					b.Fatal(err)
				}
				rules.Observers = append(rules.Observers, tracer)
			}
			g := New(rules, fleet.New(&proxytest.Opener{}, nil, quiet), NewSessions(quiet))
			guard := g.guard(&policy.Identity{Subject: "key:a", Key: "a", Method: policy.MethodAPIKey}, policy.Scope{Server: "files"})
			request := mcp.NewRequest([]byte("1"), mcp.MethodToolsCall, []byte(`{"name":"read_file","arguments":{"path":"/srv/projects/alpha/README.md"}}`))
			answer := mcp.NewResult([]byte("1"), []byte(`{"content":[{"type":"text","text":"hello"}]}`))
			ctx := &passenger{Context: b.Context(), Origin: Origin{Transport: "http", Correlation: "A-1"}}
			b.ReportAllocs()
			began := processorTime(b)
			for b.Loop() {
				call, err := guard.pass(ctx, request, func(context.Context, mcp.Message) (link.Call, error) { return link.Answered(answer), nil })
				if err != nil {
					b.Fatal(err)
				}
				call.Take()
			}
			b.ReportMetric(float64(processorTime(b)-began)/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkGate measures what all of a gate adds to a call by HTTP: the door, what is
// known of the tool, the guard, the audit log, and everybody who counts.
func BenchmarkGate(b *testing.B) {
	p := &policy.Policy{Servers: map[string]policy.Server{"files": {
		Project: "alpha", Quota: ample(), MaxTimeout: time.Minute, Retry: policy.Retry{Attempts: 2},
	}}}
	p.Metrics.Enabled, p.Usage = true, &policy.Usage{}
	p.Limits.Gateway, p.Limits.PerIdentity = ample(), ample()
	quiet := slog.New(slog.DiscardHandler)
	calls := recent.New(time.Now)
	calls.Keep([]string{"files"})
	meter := usage.New(usage.Options{Folder: b.TempDir(), Log: quiet})
	if err := meter.Apply(p); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = meter.Run(ctx) })
	b.Cleanup(func() { cancel(); running.Wait() })
	g := New(Rules{
		Policy: p, RBAC: thousandRules(b), Limits: ratelimit.New().With(p), Audit: recording(b),
		Observers: []telemetry.Observer{calls, metrics.New(nothing{}, quiet).Apply(p), meter},
	}, fleet.New(&proxytest.Opener{}, nil, quiet), NewSessions(quiet))
	answer := mcp.NewResult([]byte("1"), []byte(`{"content":[{"type":"text","text":"hello"}]}`))
	caller := &policy.Identity{Subject: "key:a", Key: "a", Method: policy.MethodAPIKey}
	v, err := g.visit(caller, on("files"))
	if err != nil {
		b.Fatal(err)
	}
	v.server.(*guarded).inner = send(func(ctx context.Context, _ mcp.Message) (link.Call, error) {
		link.Serve(ctx, "files-1", time.Now())
		return link.Answered(answer), nil
	})
	request := mcp.NewRequest([]byte("1"), mcp.MethodToolsCall, []byte(`{`+stateless+`,"name":"read_file","arguments":{"path":"/srv/projects/alpha/README.md"}}`))
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(callers)
			began := processorTime(b)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					from := Origin{Transport: "http", Source: netip.MustParseAddr("127.0.0.1"), Correlation: "A-1"}
					if err := g.Enter(ctx, from, caller, on("files")); err != nil {
						b.Error(err)
					}
					reply, err := g.Do(ctx, Request{Origin: from, Caller: caller, Scope: on("files"), Stateless: true, Message: request})
					if err != nil {
						b.Error(err)
						return
					}
					reply.Call.Take()
				}
			})
			b.ReportMetric(float64(processorTime(b)-began)/float64(b.N), "cpu-ns/op")
		})
	}
}

// processorTime is what the process has used, the audit log's writer with it.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// nothing is what nobody scrapes.
type nothing struct{ metrics.Source }

func ample() policy.Quota { return policy.Quota{Rate: &policy.Rate{PerSecond: 1e9, Burst: 1e9}} }

func thousandRules(b *testing.B) *rbac.Engine {
	b.Helper()
	var permissions []policy.Permission
	for i := range 999 {
		permissions = append(permissions, policy.Permission{Actions: []string{mcp.MethodToolsCall}, Tools: []string{fmt.Sprintf("tool_%d_*", i)}})
	}
	permissions = append(permissions, policy.Permission{Actions: []string{mcp.MethodToolsCall}, Tools: []string{"read_*"}})
	engine, err := rbac.New(&policy.RBAC{
		Roles:    map[string]policy.Role{"r": {Permissions: permissions}},
		Bindings: []policy.Binding{{Role: "r", Keys: []string{"a"}}},
	})
	if err != nil {
		b.Fatal(err)
	}
	return engine
}

// recording is an audit log in a file.
func recording(b *testing.B) *audit.Log {
	b.Helper()
	file, err := os.Create(filepath.Join(b.TempDir(), "audit.log"))
	if err != nil {
		b.Fatal(err)
	}
	log := audit.New(noKeeper{}, slog.New(slog.DiscardHandler))
	log.Apply(&policy.Audit{MaxSize: 1 << 40, OnFull: policy.OnFullBlock, Sync: policy.SyncInterval, DigestKey: []byte("key")},
		audit.Handover{File: file, Number: 1, Chain: "a1"})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = log.Run(ctx) })
	b.Cleanup(func() { cancel(); running.Wait() })
	// Until the log has taken its file, nothing is recorded.
	for deadline := time.Now().Add(10 * time.Second); ; {
		slot, err := log.Reserve(ctx)
		if err == nil {
			slot.Release()
			return log
		}
		if time.Now().After(deadline) {
			b.Fatal(err)
		}
	}
}
