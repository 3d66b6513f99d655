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
)

// Policy is the proxy's half of one configuration generation. It is immutable:
// a new configuration is a new Policy with a higher Generation. It holds no
// secret of any server, no path and no command.
type Policy struct {
	Generation uint64            `json:"generation"`
	Gateway    string            `json:"gateway"` // the gateway's own name, as MCP clients see it
	Servers    map[string]Server `json:"servers"`
	Keys       []Key             `json:"keys"`
	HTTP       HTTP              `json:"http"`
	Limits     Limits            `json:"limits"`
}

// Server is what the proxy knows of one enabled MCP server.
type Server struct {
	Project     string        `json:"project"`
	Eager       bool          `json:"eager"`        // start and initialise one instance before the gateway is ready
	Timeout     time.Duration `json:"timeout"`      // longest wait for one answer, > 0
	IdleTimeout time.Duration `json:"idle_timeout"` // an instance without calls for so long is stopped, > 0
	FreezeAfter time.Duration `json:"freeze_after"` // one without calls for so long is frozen until the next; 0: never
	Network     *Network      `json:"network,omitempty"`
}

// HTTP is what the proxy's HTTP front accepts.
type HTTP struct {
	AllowedHosts   []string `json:"allowed_hosts"`   // beside the loopback names and the address a request came to
	AllowedOrigins []string `json:"allowed_origins"` // "https://app.example"; browsers elsewhere are refused
}

// Limits bound what one client or one server can make the proxy hold.
type Limits struct {
	MaxBodyBytes    int64 `json:"max_body_bytes"`    // one HTTP request body
	MaxMessageBytes int64 `json:"max_message_bytes"` // one line from a server
	MaxSessions     int   `json:"max_sessions"`      // handshake-era sessions at a time
	// MaxSessionsPerCaller leaves sandboxes for others.
	MaxSessionsPerCaller int `json:"max_sessions_per_caller"`
}

// Key is a stored API key: never the key itself, only its SHA-256. The secret
// part has 256 random bits, so a slow hash would add nothing.
type Key struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Hash    [32]byte  `json:"hash"`
	Servers []string  `json:"servers,omitempty"` // the servers it may use; empty means all
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
}

// Identity is an authenticated caller. The zero Identity is nobody and may do
// nothing.
type Identity struct {
	Subject string   // unique: "key:ID"
	Name    string   // for people
	Servers []string // the servers it may use; empty means all
}

// DeniedError says who was refused what.
type DeniedError struct {
	Subject, Server string
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("%s may not use server %q", e.Subject, e.Server)
}

// Authorize returns nil if id may use server, a *DeniedError if not.
func (p *Policy) Authorize(id Identity, server string) error {
	_, known := p.Servers[server]
	if known && id.Subject != "" && (len(id.Servers) == 0 || slices.Contains(id.Servers, server)) {
		return nil
	}
	return &DeniedError{Subject: id.Subject, Server: server}
}
