package proxy

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/proxytest"
)

// A limit that would limit nothing, or everything, is refused with its name.
func TestParseRefusesLimits(t *testing.T) {
	t.Parallel()
	rate := func(perSecond float64, burst int) policy.Quota {
		return policy.Quota{Rate: &policy.Rate{PerSecond: perSecond, Burst: burst}}
	}
	server := func(change func(*policy.Server)) func(*policy.Policy) {
		return func(p *policy.Policy) {
			s := p.Servers["echo"]
			change(&s)
			p.Servers["echo"] = s
		}
	}
	rules := func(when string) *policy.RBAC {
		return &policy.RBAC{File: "policies.yaml", Roles: map[string]policy.Role{"r": {Permissions: []policy.Permission{
			{Actions: []string{"*"}, When: when, WhenAt: policy.Text{Position: policy.Position{Line: 7, Column: 12}}},
		}}}}
	}
	breaker := policy.Breaker{Failures: 1, Window: 1, OpenFor: 1, HalfOpen: 1}
	tests := []struct {
		name   string
		change func(*policy.Policy)
		want   string // "": it is good
	}{
		{"all", func(p *policy.Policy) {
			p.Limits.Gateway, p.Limits.PerIdentity = rate(0.1, 1), policy.Quota{Concurrent: 1}
			p.Limits.Projects = map[string]policy.Quota{"alpha": rate(1, 1)}
			server(func(s *policy.Server) {
				s.Quota, s.Breaker = rate(1, 1), &breaker
				s.Retry = policy.Retry{Attempts: 3, Backoff: 1, MaxBackoff: 1}
				s.Tools = map[string]policy.Tool{"t": {Timeout: 1, MaxTimeout: 1, Quota: rate(1, 1)}}
			})(p)
		}, ""},
		{"body", func(p *policy.Policy) { p.Limits.MaxBodyBytes = 0 }, "limits must be above 0"},
		{"gateway", func(p *policy.Policy) { p.Limits.Gateway = rate(0, 1) }, "gateway: requests_per_second"},
		{"no burst", func(p *policy.Policy) { p.Limits.Gateway = rate(1, 0) }, "gateway: requests_per_second"},
		{"negative", func(p *policy.Policy) { p.Limits.PerIdentity = policy.Quota{Concurrent: -1} }, "per_identity: max_concurrent"},
		{"project", func(p *policy.Policy) { p.Limits.Projects = map[string]policy.Quota{"a": rate(-1, 1)} }, `project "a": requests_per_second`},
		{"server", server(func(s *policy.Server) { s.Quota = rate(-1, 1) }), `server "echo": requests_per_second`},
		{"tool", server(func(s *policy.Server) {
			s.Tools = map[string]policy.Tool{"t": {Timeout: 1, MaxTimeout: 1, Quota: rate(1, -1)}}
		}), `server "echo": tool "t": requests_per_second`},
		{"tool without time", server(func(s *policy.Server) { s.Tools = map[string]policy.Tool{"t": {}} }), `tool "t": timeout`},
		{"tool's cap", server(func(s *policy.Server) { s.Tools = map[string]policy.Tool{"t": {Timeout: 2, MaxTimeout: 1}} }), `tool "t": timeout`},
		{"breaker", server(func(s *policy.Server) { s.Breaker = &policy.Breaker{Failures: 1, Window: 1, OpenFor: 1} }), "circuit breaker must be above 0"},
		{"attempts", server(func(s *policy.Server) { s.Retry.Attempts = 1000 }), "retry must have"},
		{"backoff", server(func(s *policy.Server) { s.Retry = policy.Retry{Attempts: 2, Backoff: time.Second} }), "retry must have"},
		{"policy file", func(p *policy.Policy) { p.RBAC = rules("tool == 'x'") }, ""},
		{"bad condition", func(p *policy.Policy) { p.RBAC = rules("toll == 'x'") }, "policy file: policies.yaml:7:12: when: undeclared reference to 'toll'"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, _ := newPolicy(t, 1, false, "echo")
			test.change(&p)
			document, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			err = New(Options{Daemon: &proxytest.Opener{}, Log: slog.New(slog.DiscardHandler)}).Apply(1, document)
			if (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
