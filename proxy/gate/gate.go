// Package gate is the pipeline that every request passes, whatever transport it
// came by: limit, authorize, audit, dispatch, and screen what comes back. Each of
// these exists once. What is known at the door is decided at the door (who, how
// often, which servers); what is known of one server's request alone, by the guard
// of that server. The package reads no socket and knows no HTTP. A caller learns
// nothing of a server that it may not use, not even that it exists.
//
// Runs in: proxy.
package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/audit"
	"mcpgateway/policy/authn"
	"mcpgateway/policy/ratelimit"
	"mcpgateway/policy/rbac"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/pins"
	"mcpgateway/proxy/telemetry"
)

// Rules are what a gate enforces. Only the policy must be there: what is nil is not
// enforced.
type Rules struct {
	Policy *policy.Policy
	Auth   *authn.Authenticator // for the scopes that servers want of tokens
	RBAC   *rbac.Engine
	Limits *ratelimit.Limits
	Pins   *pins.View
	Audit  *audit.Log
	// Stderr gets what servers write to their standard error: see backend.Spec.
	Stderr func(server, sandbox string, line []byte)
	// Observers are told of each call, and those that are telemetry.Doorkeepers of each
	// refusal at the door.
	Observers []telemetry.Observer
	Quotas    Quotas
}

// Quotas says whether the project of a call may use more. It is told of the call's end as
// an observer.
type Quotas interface {
	// Enter refuses with a *quota.Error or quota.ErrUnknown. The context is that of the
	// call's observers.
	Enter(ctx context.Context, c *telemetry.Call) error
}

// Gate serves one policy generation. It is immutable; a new generation is a new
// Gate over the same instances and sessions.
type Gate struct {
	rules    Rules
	policy   *policy.Policy
	fleet    *fleet.Fleet
	specs    map[string]*fleet.Spec // by server
	visitors *visitors
	sessions *Sessions
	replaced chan struct{} // closed when there is a newer gate
}

// New returns the gate of a policy, which translated sessions use from now on.
func New(rules Rules, instances *fleet.Fleet, sessions *Sessions) *Gate {
	g := &Gate{rules: rules, policy: rules.Policy, fleet: instances, sessions: sessions, visitors: newVisitors(), replaced: make(chan struct{})}
	g.specs = g.makeSpecs()
	sessions.hints.keep(func(server string) bool { _, there := g.policy.Servers[server]; return there })
	if before := sessions.latest.Swap(g); before != nil {
		close(before.replaced)
	}
	return g
}

// Request is one message of a caller.
type Request struct {
	Origin    Origin
	Caller    *policy.Identity
	Scope     policy.Scope
	Stateless bool   // it came in a stateless revision
	Session   string // id of the caller's session, "" for none
	Message   mcp.Message
}

// Reply is what became of a message.
type Reply struct {
	Session  string    // id of the session that this request opened
	Revision string    // of the session that it is in; "" without
	Call     link.Call // nil for a message that has no answer
	of       *passages // of the session that the call is in; nil without
}

// Errors that a front tells apart, best by RefusalOf. Beside them, Do returns
// *policy.DeniedError, *ForbiddenError, *DisguisedError, *SessionError, *MethodError, those of
// authn, ratelimit, quota, breaker, pins and audit, and errors whose text says what
// happened to the server.
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

// DisguisedError says that a message may be something else to its server than to the
// rules.
type DisguisedError struct{ Why string }

func (e *DisguisedError) Error() string { return e.Why }

// MethodError says that a method does not exist in the revision of the request.
type MethodError struct{ Method string }

func (e *MethodError) Error() string {
	return fmt.Sprintf("method %.100q does not exist in revision %s, or is not offered", e.Method, mcp.Revision2026July)
}

// Authorize says whether a caller may use a scope at all, before anything of its
// request is read. Do asks again.
func (g *Gate) Authorize(caller *policy.Identity, scope policy.Scope) error {
	_, err := g.visit(caller, scope)
	return err
}

// Resolve returns the servers of a scope that a caller may use, sorted. A
// *policy.DeniedError says that there is none, and an *authn.Error that a token
// lacks scopes for the one server.
func (g *Gate) Resolve(caller *policy.Identity, scope policy.Scope) ([]string, error) {
	v, err := g.visit(caller, scope)
	if err != nil {
		return nil, err
	}
	return slices.Clone(v.names), nil
}

// scopes returns nil if a caller's token has the scopes that a server wants.
func (g *Gate) scopes(caller *policy.Identity, server string) error {
	if g.rules.Auth == nil {
		return nil
	}
	return g.rules.Auth.Scopes(caller, g.policy.Servers[server].RequiredScopes)
}

// Do passes one message on. It waits under ctx for the server to start and to
// take the message.
func (g *Gate) Do(ctx context.Context, r Request) (Reply, error) {
	if r.Origin.Correlation == "" {
		r.Origin.Correlation = g.sessions.correlations.Next()
	}
	by := &passenger{Context: ctx, Origin: r.Origin}
	if r.Stateless && len(g.rules.Observers) > 0 {
		by.revision, _ = r.Message.Text(r.Message.Param("_meta", mcp.MetaRevision))
	}
	v, place, err := g.enter(&r)
	if err != nil {
		g.note(by, &r, err)
		return Reply{}, err
	}
	by.caller = v.caller
	reply, err := g.dispatch(by, v, &r)
	if reply.Call = keep(place, reply.Call); reply.Call != nil && reply.of != nil {
		reply.Call = reply.of.add(reply.Call)
	}
	return reply, err
}

// enter is what is decided at the door: how much the caller does, and whether it may
// use anything of the scope.
func (g *Gate) enter(r *Request) (v *visitor, pass ratelimit.Pass, err error) {
	if g.rules.Limits != nil {
		if pass, err = g.rules.Limits.EnterGateway(ratelimit.Call{
			Subject: r.Caller.Subject, Now: time.Now(), Unanswered: r.Message.Kind() != mcp.Request,
		}); err != nil {
			return nil, pass, err
		}
	}
	v, err = g.visit(r.Caller, r.Scope)
	if err == nil {
		err = disguise(r.Message)
	}
	if err != nil {
		pass.Leave()
	}
	return v, pass, err
}

// disguise says how a message is something else to its server than to the rules. One is
// a request that wants no answer: to JSON-RPC it is a notification, and many servers do
// what it says; no rule is asked about notifications, and all those of MCP have names
// that begin alike. The other has names that many servers read as others.
func disguise(m mcp.Message) error {
	if m.Kind() == mcp.Notification && !strings.HasPrefix(m.Method(), "notifications/") {
		return &DisguisedError{fmt.Sprintf("%.100q is no notification: send it with an id", m.Method())}
	}
	if name := m.Lookalike(); name != "" {
		return &DisguisedError{fmt.Sprintf("the member %.100q differs from one of the protocol in case alone", name)}
	}
	return nil
}

// dispatch passes a message on. The passenger is this message's alone, until it has gone.
func (g *Gate) dispatch(by *passenger, v *visitor, r *Request) (Reply, error) {
	switch {
	case r.Stateless:
		return v.stateless(by, r.Message)
	case r.Session == "" && r.Message.Kind() == mcp.Request && r.Message.Method() == mcp.MethodInitialize:
		return g.open(by, v, r.Message)
	case r.Session == "":
		return Reply{}, ErrNoSession
	}
	session, err := g.sessions.find(r.Session, r.Caller.Subject, r.Scope)
	if err != nil {
		return Reply{}, err
	}
	if held := session.caller.Load(); !same(held, v.caller) {
		session.caller.Store(v.caller)
	}
	by.revision = session.revision
	return v.inSession(by, session, r.Message)
}
