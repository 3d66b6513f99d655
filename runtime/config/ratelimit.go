package config

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"mcpgateway/runtime/document"
)

// RateLimit bounds how often requests may come. Loaded, it is enabled if it is in
// force, and complete then.
type RateLimit struct {
	Enabled           bool    `config:"enabled"` // default true where it stands below something else, but false at the top
	RequestsPerSecond float64 `config:"requests_per_second" want:"0.001..1000000"`
	Burst             int     `config:"burst" want:"1..1000000"` // default: requests_per_second, rounded up
}

// GatewayRateLimit is that of all requests together, and of each caller's.
type GatewayRateLimit struct {
	RateLimit
	PerIdentity RateLimit `config:"per_identity"`
}

// MaxConcurrent is how many requests may be in flight; 0: no limit but the built-in
// ones.
type MaxConcurrent struct {
	Gateway     int `config:"gateway" want:"0..1000000"`
	PerIdentity int `config:"per_identity" want:"0..1000000"`
}

// Room is how many of something there may be at a time, whoever's it is, and how many
// one caller may have.
type Room struct {
	Gateway     int `config:"gateway" want:"1..1000000"`      // default 16384
	PerIdentity int `config:"per_identity" want:"1..1000000"` // default: half of the sessions, a quarter of the connections
}

// CircuitBreaker is when a server's instance gets no more requests for a while.
type CircuitBreaker struct {
	Enabled        bool          `config:"enabled"`                    // default true
	Failures       int           `config:"failures" want:"1..1000000"` // in a row; default 5
	Window         time.Duration `config:"window" want:"100ms..24h"`   // default 60s
	OpenFor        time.Duration `config:"open_for" want:"10ms..24h"`  // default 30s
	HalfOpen       int           `config:"half_open" want:"1..1000"`   // default 1
	InternalErrors bool          `config:"internal_errors"`            // the server's own errors -32603 are failures too
}

// Retry is how often a request that changes nothing is passed on.
type Retry struct {
	Attempts   int           `config:"attempts" want:"1..10"`       // in all; default 2
	Backoff    time.Duration `config:"backoff" want:"1ms..1m"`      // before the second; default 100ms
	MaxBackoff time.Duration `config:"max_backoff" want:"1ms..10m"` // default 2s, or backoff if that is longer
}

// Tool is what a tool has otherwise than its server.
type Tool struct {
	Timeout       time.Duration `config:"timeout" want:"10ms..24h"`      // default: the server's
	MaxTimeout    time.Duration `config:"max_timeout" want:"10ms..240h"` // default: 10 times timeout, or the server's
	RateLimit     RateLimit     `config:"rate_limit"`
	MaxConcurrent int           `config:"max_concurrent" want:"0..1000000"`
}

// SetDefaults gives a tool's keys the values that they have unless the file says
// otherwise.
func (t *Tool) SetDefaults() { t.RateLimit.Enabled = true }

// SetDefaults is that of a project.
func (p *Project) SetDefaults() { p.RateLimit.Enabled = true }

// gatewayLimits makes one of rate_limit and security.rate_limit, which mean the same,
// and completes what is left to defaults.
func (c *checker) gatewayLimits() {
	c.room(document.At("max_sessions"), &c.config.MaxSessions, 2)
	c.room(document.At("max_connections"), &c.config.MaxConnections, 4)
	top, below := document.At("rate_limit"), document.At("security", "rate_limit")
	c.gatewayRate(top, &c.config.RateLimit)
	c.gatewayRate(below, &c.config.Security.RateLimit)
	if c.Given(top) && c.Given(below) && c.config.RateLimit != c.config.Security.RateLimit {
		c.Fail(below, "differs from rate_limit, which means the same: remove one of them")
	}
	if !c.Given(top) {
		c.config.RateLimit = c.config.Security.RateLimit
	}
}

// room gives one caller a part of it.
func (c *checker) room(p document.Path, r *Room, part int) {
	r.PerIdentity = cmp.Or(r.PerIdentity, (r.Gateway+part-1)/part)
	if r.PerIdentity > r.Gateway {
		c.Fail(p.Key("per_identity"), "is %d, above gateway, which is %d", r.PerIdentity, r.Gateway)
	}
}

func (c *checker) gatewayRate(p document.Path, r *GatewayRateLimit) {
	if !r.Enabled && c.Given(p.Key("enabled")) { // said so: none of it is in force
		*r = GatewayRateLimit{}
		return
	}
	c.rate(p.Key("per_identity"), &r.PerIdentity)
	switch {
	case !r.Enabled && r.RequestsPerSecond > 0:
		c.Warn(p.Key("requests_per_second"), "is not in force: write enabled: true beside it")
		r.RateLimit = RateLimit{}
	case r.Enabled && r.RequestsPerSecond == 0 && r.PerIdentity.Enabled:
		r.RateLimit = RateLimit{} // each caller's alone
	default:
		c.rate(p, &r.RateLimit)
	}
}

// rate completes a limit. One that the file does not have is not in force.
func (c *checker) rate(p document.Path, r *RateLimit) {
	if !c.Given(p) || !r.Enabled {
		*r = RateLimit{}
		return
	}
	if r.RequestsPerSecond == 0 {
		c.Fail(p.Key("requests_per_second"), "is missing: say how many, or write enabled: false")
	}
	r.Burst = cmp.Or(r.Burst, int(math.Ceil(r.RequestsPerSecond)))
}

// limits completes and judges what bounds a server's requests, and what is done when
// they fail.
func (c *checker) limits(p document.Path, s *Server) {
	c.rate(p.Key("rate_limit"), &s.RateLimit)
	retry := p.Key("retry")
	if !c.Given(retry.Key("max_backoff")) {
		s.Retry.MaxBackoff = max(s.Retry.MaxBackoff, s.Retry.Backoff)
	}
	if s.Retry.MaxBackoff < s.Retry.Backoff {
		c.Fail(retry.Key("max_backoff"), "is %s, below backoff, which is %s", s.Retry.MaxBackoff, s.Retry.Backoff)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Tools)) {
		tool := s.Tools[name]
		c.tool(p.Key("tools").Key(name), *s, &tool)
		s.Tools[name] = tool
	}
}

func (c *checker) tool(p document.Path, s Server, t *Tool) {
	c.rate(p.Key("rate_limit"), &t.RateLimit)
	if t.Timeout > 0 {
		t.MaxTimeout = cmp.Or(t.MaxTimeout, 10*t.Timeout)
	}
	t.Timeout, t.MaxTimeout = cmp.Or(t.Timeout, s.Timeout), cmp.Or(t.MaxTimeout, s.MaxTimeout)
	if t.MaxTimeout < t.Timeout {
		c.Fail(p.Key("max_timeout"), "is %s, below timeout, which is %s", t.MaxTimeout, t.Timeout)
	}
}
