package policy

import "time"

// Limits bound what one client or one server can make the proxy hold, and how often
// and how many at a time callers may ask for something.
type Limits struct {
	MaxBodyBytes    int64 `json:"max_body_bytes"`    // one HTTP request body
	MaxMessageBytes int64 `json:"max_message_bytes"` // one line from a server

	MaxSessions             int `json:"max_sessions"` // handshake-era sessions at a time
	MaxSessionsPerCaller    int `json:"max_sessions_per_caller"`
	MaxConnections          int `json:"max_connections"` // of HTTP and what goes over it; and of gRPC
	MaxConnectionsPerCaller int `json:"max_connections_per_caller"`
	// MaxInstancesPerCaller leaves sandboxes for others: it bounds a caller's instances
	// that others don't share, and its sessions that have one for themselves.
	MaxInstancesPerCaller int `json:"max_instances_per_caller"`

	Gateway     Quota            `json:"gateway"`      // of all requests together
	PerIdentity Quota            `json:"per_identity"` // of each caller's
	Projects    map[string]Quota `json:"projects"`     // of those for all servers of a project
}

// Quota bounds requests. The zero Quota bounds nothing.
type Quota struct {
	Rate       *Rate `json:"rate,omitempty"`       // nil: as many as come
	Concurrent int   `json:"concurrent,omitempty"` // in flight at a time; 0: as many as come
}

// IsZero reports whether the quota bounds nothing.
func (q Quota) IsZero() bool { return q.Rate == nil && q.Concurrent == 0 }

// Rate is a token bucket: each request takes a token, and there are never more than
// Burst.
type Rate struct {
	PerSecond float64 `json:"per_second"` // tokens that come, > 0
	Burst     int     `json:"burst"`      // > 0
}

// Breaker says when a server's instance gets no more requests for a while.
type Breaker struct {
	Failures int           `json:"failures"`  // in a row that open it, > 0
	Window   time.Duration `json:"window"`    // in which they must come, > 0
	OpenFor  time.Duration `json:"open_for"`  // before it is tried again, > 0
	HalfOpen int           `json:"half_open"` // requests that try it, all of which must succeed; > 0
	// InternalErrors has errors of the server's own with the code -32603 count as
	// failures.
	InternalErrors bool `json:"internal_errors"`
}

// Retry says how often a request that changes nothing is passed on when an instance
// ends before it answers. The zero Retry is once.
type Retry struct {
	Attempts   int           `json:"attempts"`    // in all; 0 and 1: no repetition
	Backoff    time.Duration `json:"backoff"`     // before the second, >= 0; doubled each time
	MaxBackoff time.Duration `json:"max_backoff"` // >= Backoff
}

// Tool is what one tool of a server has otherwise than the server.
type Tool struct {
	Timeout    time.Duration `json:"timeout"`     // as Server.Timeout, > 0
	MaxTimeout time.Duration `json:"max_timeout"` // as Server.MaxTimeout, >= Timeout
	Quota
}
