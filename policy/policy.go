// Package policy is the data that decides who may do what: the proxy's half of
// one configuration generation, identities, and the pure decisions over them.
// It opens no file and no socket.
//
// Runs in: daemon (builds and validates), proxy (enforces), CLI.
package policy

import (
	"fmt"
	"slices"
	"time"

	"mcpgateway/policy/redact"
)

// Policy is the proxy's half of one configuration generation. It is immutable:
// a new configuration is a new Policy with a higher Generation. It holds no
// secret of any server, no path and no command.
type Policy struct {
	Generation uint64            `json:"generation"`
	Gateway    string            `json:"gateway"` // the gateway's own name, as MCP clients see it
	Servers    map[string]Server `json:"servers"`
	Keys       []Key             `json:"keys"`
	Transports []string          `json:"transports"` // that clients may use: "http", "grpc", "websocket", "sse"
	HTTP       HTTP              `json:"http"`
	GRPC       GRPC              `json:"grpc"`
	Limits     Limits            `json:"limits"`
	ToolLock   ToolLock          `json:"tool_lock"`
	HiddenText HiddenText        `json:"hidden_text"`
	RBAC       *RBAC             `json:"rbac,omitempty"`  // nil: what a credential is good for decides alone
	Audit      *Audit            `json:"audit,omitempty"` // nil: nothing is audited

	Authentication Authentication `json:"authentication"` // how callers prove who they are

	Health  *Health           `json:"health,omitempty"` // nil: instances are not asked
	Metrics Metrics           `json:"metrics"`
	Tracing *Tracing          `json:"tracing,omitempty"` // nil: there are no spans
	Logging Logging           `json:"logging"`
	Usage   *Usage            `json:"usage,omitempty"`   // nil: there is no ledger
	Budgets map[string]Budget `json:"budgets,omitempty"` // of projects that have one
}

// Server is what the proxy knows of one enabled MCP server.
type Server struct {
	Project string `json:"project"`
	// Program is the same for servers of the same image and command, and says
	// nothing else of them.
	Program string `json:"program"`
	// Revision is another whenever anything has changed that a sandbox is made of,
	// the values of its secrets among them, and says nothing else of them.
	Revision     string        `json:"revision"`
	Eager        bool          `json:"eager"`         // start and initialise one instance before the gateway is ready
	Instances    Instances     `json:"instances"`     // who shares an instance
	Replicas     int           `json:"replicas"`      // of a shared server, > 0
	Strategy     Strategy      `json:"strategy"`      // which replica serves a request
	Warm         int           `json:"warm"`          // instances kept started for those who come
	Timeout      time.Duration `json:"timeout"`       // longest wait for one answer or for the next progress, > 0
	MaxTimeout   time.Duration `json:"max_timeout"`   // longest wait for an answer whatever the progress, >= Timeout
	IdleTimeout  time.Duration `json:"idle_timeout"`  // an instance without calls for so long is stopped, > 0
	FreezeAfter  time.Duration `json:"freeze_after"`  // one without calls for so long is frozen until the next; 0: never
	ReclaimAfter time.Duration `json:"reclaim_after"` // a frozen one without calls for so long gives memory back; 0: never
	ToolPins     PinMode       `json:"tool_pins"`
	Network      *Network      `json:"network,omitempty"`
	// RequiredScopes are what a token must have to be good for the server, beside those
	// that all must have.
	RequiredScopes []string `json:"required_scopes,omitempty"`

	Quota     Quota           `json:"quota"` // of requests for this server
	Breaker   *Breaker        `json:"breaker,omitempty"`
	Retry     Retry           `json:"retry"`
	Tools     map[string]Tool `json:"tools,omitempty"` // those with values of their own
	OnCrash   OnCrash         `json:"on_crash"`
	Restart   Restart         `json:"restart"`
	Objective Objective       `json:"objective"`
	// Secrets recognises what must not come out of the server; nil: nothing.
	Secrets *redact.Matcher `json:"secrets,omitempty"`
}

// Instances says who shares an instance of a server.
type Instances string

// The values of Instances. InstancesDefault is one for each session of the
// handshake era, and one for each identity in the stateless era, which has no
// sessions.
const (
	InstancesDefault     Instances = ""
	InstancesPerSession  Instances = "per-session"
	InstancesPerIdentity Instances = "per-identity"
	InstancesShared      Instances = "shared"
)

// Strategy says which replica of a shared server serves a request.
type Strategy string

// The values of Strategy. A consistent hash keeps each identity on one replica.
const (
	StrategyLeastBusy      Strategy = "least-busy"
	StrategyRoundRobin     Strategy = "round-robin"
	StrategyConsistentHash Strategy = "consistent-hash"
)

// HTTP is what the proxy's HTTP front accepts.
type HTTP struct {
	AllowedHosts   []string `json:"allowed_hosts"`   // beside the loopback names and the address a request came to
	AllowedOrigins []string `json:"allowed_origins"` // "https://app.example"; browsers elsewhere are refused
	WebSocket      bool     `json:"websocket"`       // WebSocket is served on the HTTP listener, beside one of its own
	SSE            bool     `json:"sse"`             // and so is HTTP+SSE
	PublicURL      string   `json:"public_url"`      // that clients know the gateway by, without a final slash; "": as requests say
	TLS            *TLS     `json:"tls,omitempty"`   // nil: plain text
}

// GRPC is what the proxy's gRPC front accepts.
type GRPC struct {
	TLS *TLS `json:"tls,omitempty"` // nil: plain text
}

// TLS is how a listener proves itself, and whom it lets connect. All parts are PEM.
type TLS struct {
	Certificate []byte `json:"certificate"`         // the chain, the listener's own first
	Key         []byte `json:"key"`                 // of the listener itself, not of any server
	ClientCA    []byte `json:"client_ca,omitempty"` // clients must have a certificate of one of these; empty: none needed
	Optional    bool   `json:"optional,omitempty"`  // they may also have none, but no other
	Revoked     []byte `json:"revoked,omitempty"`   // revocation lists of ClientCA, PEM or DER; empty: none is asked for
}

// Key is a stored API key: never the key itself, only its SHA-256. The secret
// part has 256 random bits, so a slow hash would add nothing.
type Key struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Hash     [32]byte  `json:"hash"`
	Servers  []string  `json:"servers,omitempty"`  // the servers it may use; empty means all
	Projects []string  `json:"projects,omitempty"` // and their projects; empty means all
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires,omitzero"` // zero: never
}

// Scope is what a client addresses: one server, or, without Server, all servers
// of a project, or, without either, all of the gateway.
type Scope struct{ Server, Project string }

// String describes the scope for people.
func (s Scope) String() string {
	switch {
	case s.Server != "":
		return fmt.Sprintf("server %.100q", s.Server)
	case s.Project != "":
		return fmt.Sprintf("project %.100q", s.Project)
	}
	return "gateway"
}

// DeniedError says who was refused what.
type DeniedError struct {
	Subject string
	Scope   Scope
}

func (e *DeniedError) Error() string { return fmt.Sprintf("%s may not use %s", e.Subject, e.Scope) }

// Authorize returns nil if id may use server, a *DeniedError if not.
func (p *Policy) Authorize(id *Identity, server string) error {
	s, known := p.Servers[server]
	allowed := func(names []string, name string) bool { return len(names) == 0 || slices.Contains(names, name) }
	if known && id.Subject != "" && allowed(id.Servers, server) && allowed(id.Projects, s.Project) {
		return nil
	}
	return &DeniedError{Subject: id.Subject, Scope: Scope{Server: server}}
}

// Resolve returns the servers of a scope that id may use, sorted. A *DeniedError
// says that there is none.
func (p *Policy) Resolve(id *Identity, s Scope) ([]string, error) {
	if s.Server != "" {
		return []string{s.Server}, p.Authorize(id, s.Server)
	}
	var names []string
	for name, server := range p.Servers {
		if (s.Project == "" || s.Project == server.Project) && p.Authorize(id, name) == nil {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, &DeniedError{Subject: id.Subject, Scope: s}
	}
	slices.Sort(names)
	return names, nil
}
