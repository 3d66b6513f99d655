package gate

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/audit"
	"mcpgateway/policy/ratelimit"
	"mcpgateway/policy/rbac"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/metrics"
	"mcpgateway/proxy/proxytest"
	"mcpgateway/proxy/tracing"
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
			guard := g.guard(policy.Identity{Subject: "key:a", Key: "a", Method: policy.MethodAPIKey}, policy.Scope{Server: "files"})
			request := mcp.NewRequest([]byte("1"), mcp.MethodToolsCall, []byte(`{"name":"read_file","arguments":{"path":"/srv/projects/alpha/README.md"}}`))
			answer := mcp.NewResult([]byte("1"), []byte(`{"content":[{"type":"text","text":"hello"}]}`))
			ctx := withPassenger(b.Context(), passenger{Origin: Origin{Transport: "http", Correlation: "A-1"}})
			b.ReportAllocs()
			for b.Loop() {
				call, err := guard.pass(ctx, request, func(context.Context, mcp.Message) (link.Call, error) { return link.Answered(answer), nil })
				if err != nil {
					b.Fatal(err)
				}
				call.Take()
			}
		})
	}
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
