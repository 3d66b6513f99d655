package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// limited parses a configuration with one server, "s", and more.
func limited(t *testing.T, text string) (*Config, string) {
	t.Helper()
	c, warnings, err := parse("limits.yaml", []byte(text), unset, testHost(1000))
	var lines []string
	for _, w := range warnings {
		lines = append(lines, "warning: "+w.Position+" "+w.Text)
	}
	if err != nil {
		lines = append(lines, err.Error())
	}
	return c, strings.Join(lines, "\n")
}

func TestLimitsAreComplete(t *testing.T) {
	t.Parallel()
	c, problems := limited(t, `
rate_limit: {enabled: true, requests_per_second: 0.5, per_identity: {requests_per_second: 20.2}}
max_concurrent: {gateway: 100, per_identity: 5}
max_sessions: {gateway: 5}
max_connections: {per_identity: 100}
projects:
  alpha: {rate_limit: {requests_per_second: 7}, max_concurrent: 10}
servers:
  plain: {command: c, project: alpha}
  s:
    command: c
    timeout: 30s
    rate_limit: {requests_per_second: 3, burst: 9}
    max_concurrent: 4
    circuit_breaker: {failures: 7, half_open: 2}
    retry: {attempts: 3, backoff: 5s}
    tools:
      slow_report: {timeout: 10m, max_concurrent: 1}
      capped: {max_timeout: 40s, rate_limit: {requests_per_second: 1}}
      off: {rate_limit: {enabled: false, requests_per_second: 1}}
`)
	if problems != "" {
		t.Fatal(problems)
	}
	if got, want := c.RateLimit, (GatewayRateLimit{RateLimit{true, 0.5, 1}, RateLimit{true, 20.2, 21}}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := []Room{c.MaxSessions, c.MaxConnections}, []Room{{5, 3}, {16384, 100}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	alpha := c.Projects["alpha"]
	if want := (RateLimit{true, 7, 7}); alpha.RateLimit != want || alpha.MaxConcurrent != 10 {
		t.Errorf("got %+v", alpha)
	}
	if got := c.Projects["default"].RateLimit; got != (RateLimit{}) {
		t.Errorf("got %+v, want no limit that the file does not have", got)
	}
	s, plain := c.Servers["s"], c.Servers["plain"]
	if s.RateLimit != (RateLimit{true, 3, 9}) || s.MaxConcurrent != 4 || plain.RateLimit != (RateLimit{}) {
		t.Errorf("got %+v and %+v", s.RateLimit, plain.RateLimit)
	}
	if want := (CircuitBreaker{true, 7, time.Minute, 30 * time.Second, 2, false}); s.CircuitBreaker != want {
		t.Errorf("got %+v, want %+v", s.CircuitBreaker, want)
	}
	if want := (CircuitBreaker{true, 5, time.Minute, 30 * time.Second, 1, false}); plain.CircuitBreaker != want {
		t.Errorf("got %+v, want %+v", plain.CircuitBreaker, want)
	}
	if s.Retry != (Retry{3, 5 * time.Second, 5 * time.Second}) || plain.Retry != (Retry{2, 100 * time.Millisecond, 2 * time.Second}) {
		t.Errorf("got %+v and %+v", s.Retry, plain.Retry)
	}
	for name, want := range map[string]Tool{
		"slow_report": {Timeout: 10 * time.Minute, MaxTimeout: 100 * time.Minute, MaxConcurrent: 1},
		"capped":      {Timeout: 30 * time.Second, MaxTimeout: 40 * time.Second, RateLimit: RateLimit{true, 1, 1}},
		"off":         {Timeout: 30 * time.Second, MaxTimeout: 5 * time.Minute},
	} {
		if got := s.Tools[name]; got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

func TestGatewayRateLimit(t *testing.T) {
	t.Parallel()
	hundred := GatewayRateLimit{RateLimit: RateLimit{true, 100, 200}}
	each := GatewayRateLimit{PerIdentity: RateLimit{true, 20, 20}}
	tests := []struct {
		name, text string
		want       GatewayRateLimit
		problem    string
	}{
		{name: "none", text: ""},
		{name: "top", text: "rate_limit: {enabled: true, requests_per_second: 100.0, burst: 200}", want: hundred},
		{name: "security", text: "security: {rate_limit: {enabled: true, requests_per_second: 100.0, burst: 200}}", want: hundred},
		{
			name: "the same twice", want: hundred,
			text: "rate_limit: {enabled: true, requests_per_second: 100, burst: 200}\nsecurity: {rate_limit: {burst: 200, requests_per_second: 1e2, enabled: true}}",
		},
		{
			name: "two", problem: "limits.yaml:2:12: security.rate_limit: differs from rate_limit, which means the same: remove one of them",
			text: "rate_limit: {enabled: true, requests_per_second: 100, burst: 200}\nsecurity: {rate_limit: {enabled: true, requests_per_second: 100}}",
		},
		{
			name: "two, one off", problem: "limits.yaml:2:12: security.rate_limit: differs",
			text: "rate_limit: {enabled: false}\nsecurity: {rate_limit: {enabled: true, requests_per_second: 100}}",
		},
		{name: "each alone", text: "rate_limit: {per_identity: {requests_per_second: 20}}", want: each},
		{name: "each alone, enabled", text: "rate_limit: {enabled: true, per_identity: {requests_per_second: 20}}", want: each},
		{name: "all off", text: "rate_limit: {enabled: false, requests_per_second: 1, per_identity: {requests_per_second: 20}}"},
		{name: "each off", text: "rate_limit: {per_identity: {enabled: false, requests_per_second: 20}}"},
		{name: "forgotten", text: "rate_limit: {requests_per_second: 20}", problem: "warning: limits.yaml:1:35 rate_limit.requests_per_second: is not in force: write enabled: true beside it"},
		{name: "how many", text: "rate_limit: {enabled: true}", problem: "limits.yaml:1:1: rate_limit.requests_per_second: is missing"},
		{name: "how many for each", text: "rate_limit: {per_identity: {burst: 3}}", problem: "rate_limit.per_identity.requests_per_second: is missing"},
		{name: "none a second", text: "rate_limit: {enabled: true, requests_per_second: 0}", problem: "is 0, want 0.001 to 1000000"},
		{name: "no number", text: "rate_limit: {enabled: true, requests_per_second: .nan}", problem: "want a number"},
		{name: "negative", text: "rate_limit: {enabled: true, requests_per_second: 1, burst: -1}", problem: "is -1, want 1 to 1000000"},
		{name: "more for one than for all", text: "max_sessions: {gateway: 9, per_identity: 10}", problem: "max_sessions.per_identity: is 10, above gateway, which is 9"},
		{name: "no room", text: "max_connections: {gateway: 0}", problem: "is 0, want 1 to 1000000"},
		{name: "below zero at a time", text: "max_concurrent: {gateway: -1}", problem: "is -1, want 0 to 1000000"},
		{name: "project", text: "projects: {a: {rate_limit: {}}}", problem: "projects.a.rate_limit.requests_per_second: is missing: say how many, or write enabled: false"},
		{name: "server", text: "servers: {s: {command: c, rate_limit: {burst: 5}}}", problem: "servers.s.rate_limit.requests_per_second: is missing"},
		{name: "tool", text: "servers: {s: {command: c, tools: {t: {rate_limit: {}}}}}", problem: "servers.s.tools.t.rate_limit.requests_per_second: is missing"},
		{name: "tool's time", text: "servers: {s: {command: c, timeout: 1m, tools: {t: {max_timeout: 1s}}}}", problem: "servers.s.tools.t.max_timeout: is 1s, below timeout, which is 1m0s"},
		{name: "backoff", text: "servers: {s: {command: c, retry: {backoff: 3s, max_backoff: 2s}}}", problem: "servers.s.retry.max_backoff: is 2s, below backoff, which is 3s"},
		{name: "attempts", text: "servers: {s: {command: c, retry: {attempts: 0}}}", problem: "is 0, want 1 to 10"},
		{name: "breaker", text: "servers: {s: {command: c, circuit_breaker: {failures: 0}}}", problem: "is 0, want 1 to 1000000"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, problems := limited(t, test.text+"\n")
			switch {
			case test.problem == "" && problems != "", !strings.Contains(problems, test.problem), strings.Contains(problems, "\n"):
				t.Errorf("got %q, want %q", problems, test.problem)
			case c != nil && c.RateLimit != test.want:
				t.Errorf("got %+v, want %+v", c.RateLimit, test.want)
			}
		})
	}
}
