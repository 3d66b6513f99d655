// Package gate is the pipeline that every request passes, whatever transport it
// came by: authorize, then dispatch. Limits and audit belong here too, so that
// they exist once. It reads no socket and knows no HTTP. A caller learns nothing
// of a server that it may not use, not even that it exists.
//
// Runs in: proxy.
package gate

import (
	"context"
	"errors"
	"fmt"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// Gate serves one policy generation. It is immutable; a new generation is a new
// Gate over the same instances and sessions.
type Gate struct {
	policy   *policy.Policy
	fleet    *fleet.Fleet
	sessions *Sessions
	replaced chan struct{} // closed when there is a newer gate
}

// New returns the gate of a policy, which translated sessions use from now on.
func New(p *policy.Policy, instances *fleet.Fleet, sessions *Sessions) *Gate {
	g := &Gate{policy: p, fleet: instances, sessions: sessions, replaced: make(chan struct{})}
	if before := sessions.latest.Swap(g); before != nil {
		close(before.replaced)
	}
	return g
}

// Request is one message of a caller.
type Request struct {
	Caller    policy.Identity
	Scope     policy.Scope
	Stateless bool   // it came in a stateless revision
	Session   string // id of the caller's session, "" for none
	Message   mcp.Message
}

// Reply is what became of a message.
type Reply struct {
	Session string    // id of the session that this request opened
	Call    link.Call // nil for a message that has no answer
}

// Errors that a front tells apart, best by RefusalOf. Beside them, Do returns
// *policy.DeniedError, *SessionError, *MethodError, and errors whose text says
// what happened to the server.
var (
	ErrNoSession    = errors.New("the request needs a session: send initialize first")
	ErrSessionLimit = errors.New("there are too many sessions: try again later")
	ErrListening    = errors.New("the session has a listener already")
)

// SessionError says that a session does not exist, for this caller and scope.
type SessionError struct{ Cause error }

func (e *SessionError) Error() string {
	if e.Cause == nil {
		return "there is no such session"
	}
	return fmt.Sprintf("the session has ended: %v", e.Cause)
}

// MethodError says that a method does not exist in the revision of the request.
type MethodError struct{ Method string }

func (e *MethodError) Error() string {
	return fmt.Sprintf("method %.100q does not exist in revision %s, or is not offered", e.Method, mcp.Revision2026July)
}

// Authorize says whether a caller may use a scope at all, before anything of its
// request is read. Do asks again.
func (g *Gate) Authorize(caller policy.Identity, scope policy.Scope) error {
	_, err := g.policy.Resolve(caller, scope)
	return err
}

// Do passes one message on. It waits under ctx for the server to start and to
// take the message.
func (g *Gate) Do(ctx context.Context, r Request) (Reply, error) {
	if err := g.Authorize(r.Caller, r.Scope); err != nil {
		return Reply{}, err
	}
	return g.dispatch(ctx, r)
}

func (g *Gate) dispatch(ctx context.Context, r Request) (Reply, error) {
	switch {
	case r.Stateless:
		return g.stateless(ctx, r)
	case r.Session == "" && r.Message.Kind() == mcp.Request && r.Message.Method() == mcp.MethodInitialize:
		return g.open(ctx, r)
	case r.Session == "":
		return Reply{}, ErrNoSession
	}
	session, err := g.sessions.find(r.Session, r.Caller, r.Scope)
	if err != nil {
		return Reply{}, err
	}
	return inSession(ctx, session, r.Message)
}

// spec is what the fleet must know of a server.
func (g *Gate) spec(server string) fleet.Spec {
	s := g.policy.Servers[server]
	return fleet.Spec{
		Spec: backend.Spec{
			Server:          server,
			Revision:        s.Revision,
			Project:         s.Project,
			Gateway:         g.policy.Gateway,
			Timeout:         s.Timeout,
			MaxTimeout:      s.MaxTimeout,
			IdleTimeout:     s.IdleTimeout,
			FreezeAfter:     s.FreezeAfter,
			MaxMessageBytes: int(g.policy.Limits.MaxMessageBytes),
			Shared:          s.Instances == policy.InstancesShared,
			Network:         s.Network,
			Tools:           s.Tools,
			Secrets:         s.Secrets,
		},
		Program:   s.Program,
		Instances: s.Instances,
		Replicas:  max(1, s.Replicas),
		Strategy:  s.Strategy,
		Warm:      s.Warm,
		Breaker:   s.Breaker,

		MaxPerCaller: g.policy.Limits.MaxSessionsPerCaller,
	}
}

// Warm starts and initialises one instance of a server, to see that it works.
func (g *Gate) Warm(ctx context.Context, server string) error {
	return g.fleet.Warm(ctx, g.spec(server))
}

// Reconcile makes the policy hold for the instances: see fleet.Fleet.Reconcile.
func (g *Gate) Reconcile() {
	specs := map[string]fleet.Spec{}
	for name := range g.policy.Servers {
		specs[name] = g.spec(name)
	}
	g.fleet.Reconcile(specs)
}
