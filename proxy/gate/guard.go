package gate

import (
	"context"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/audit"
	"mcpgateway/policy/ratelimit"
	"mcpgateway/policy/rbac"
	"mcpgateway/proxy/catalog"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/retry"
)

// guard stands before one server for one caller: limit, authorize, audit, dispatch,
// and screen what comes back. It is the one place where a request is judged by what
// it asks for.
type guard struct {
	*Gate
	caller  policy.Identity
	server  string // "" for a session with many, before anybody is asked
	project string
	fetch   func(context.Context) error // has the server list its tools, past the guard
}

// send passes a message on to the server behind a guard: a link.Server.
type send func(context.Context, mcp.Message) (link.Call, error)

// Do passes a request on.
func (s send) Do(ctx context.Context, request mcp.Message) (link.Call, error) { return s(ctx, request) }

// guard returns the guard of what a scope is.
func (g *Gate) guard(caller policy.Identity, scope policy.Scope) *guard {
	if scope.Server != "" {
		scope.Project = g.policy.Servers[scope.Server].Project
	}
	return &guard{Gate: g, caller: caller, server: scope.Server, project: scope.Project}
}

// guarded is a server with a guard before it.
type guarded struct {
	*guard
	inner link.Server
}

// guarded returns a server for an owner, behind its guard.
func (g *Gate) guarded(caller policy.Identity, server string, owner fleet.Owner) link.Server {
	s := &guarded{g.guard(caller, policy.Scope{Server: server}), g.fleet.Server(g.spec(server), owner)}
	s.fetch = func(ctx context.Context) error { return s.observe(ctx, s.inner) }
	return s
}

// Do passes a request on, if the guard lets it.
func (s *guarded) Do(ctx context.Context, request mcp.Message) (link.Call, error) {
	return s.pass(ctx, request, s.repeat)
}

// repeat passes a request on, and does so again where that can change nothing.
func (s *guarded) repeat(ctx context.Context, request mcp.Message) (link.Call, error) {
	rules := s.policy.Servers[s.server]
	spec := retry.Spec{Retry: rules.Retry, Limit: rules.MaxTimeout, Log: s.fleet.Log(), Server: s.server}
	if request.Method() == mcp.MethodToolsCall {
		tool, _ := request.Text(request.Param("name"))
		spec.Idempotent = s.sessions.hints.idempotent(s.server, tool)
		if own, ok := rules.Tools[tool]; ok {
			spec.Limit = own.MaxTimeout
		}
	}
	return retry.Do(ctx, s.inner, request, spec)
}

// observe has the server list its tools for the pins.
func (g *guard) observe(ctx context.Context, server link.Server) error {
	definitions, err := catalog.Tools(ctx, catalog.Member{Name: g.server, Server: server})
	for _, definition := range definitions {
		g.rules.Pins.Filter(g.server, definition)
	}
	return err
}

// pass judges a request and passes it on. The call that it returns tells the audit
// log of its end.
func (g *guard) pass(ctx context.Context, request mcp.Message, to send) (link.Call, error) {
	p := &passage{guard: g, started: time.Now(), wants: parse(request)}
	ctx = p.begin(ctx, request)
	if err := p.reserve(ctx); err != nil {
		p.tell(statusOf(err), err.Error(), true)
		return nil, err
	}
	p.record = p.describe(ctx, request)
	if err := p.judge(ctx); err != nil {
		p.refused(err)
		return nil, err
	}
	call, err := to(p.inside(ctx), p.call.Request)
	if err != nil {
		p.end(statusOf(err), err.Error())
		return nil, err
	}
	w := &watched{Call: call, passage: p}
	if p.wants.method == mcp.MethodListen {
		p.lasts()
		go p.follow(w) // ends with the call
	}
	return w, nil
}

// reserve makes sure that there will be room for a record.
func (p *passage) reserve(ctx context.Context) (err error) {
	if p.rules.Audit != nil && !p.sessions.crowd.enter(p.caller.Subject) {
		return link.ErrBusy
	}
	if p.slot, err = p.rules.Audit.Reserve(ctx); err != nil {
		p.makeRoom()
	}
	return err
}

// inside is the context of what is done for a request behind its guard.
func (p *passage) inside(ctx context.Context) context.Context {
	if p.record != nil || len(p.rules.Observers) > 0 {
		ctx = link.WithWatcher(ctx, p)
	}
	if p.wants.method == mcp.MethodInitialize {
		within := passengerOf(ctx)
		within.opening = p.server
		ctx = withPassenger(ctx, within)
	}
	return ctx
}

// judge decides whether a request is passed on.
func (p *passage) judge(ctx context.Context) (err error) {
	if p.limited(ctx) {
		p.place, err = p.rules.Limits.EnterServer(ratelimit.Call{Subject: p.caller.Subject, Server: p.server, Tool: p.wants.tool, Now: p.started})
		if err != nil {
			return err
		}
	}
	if err := p.permit(); err != nil {
		return err
	}
	if p.wants.tool != "" && p.rules.Pins != nil {
		if err := p.rules.Pins.Check(ctx, p.server, p.wants.tool, p.fetch); err != nil {
			return err
		}
	}
	if p.rules.Quotas == nil {
		return nil
	}
	return p.rules.Quotas.Enter(ctx, &p.call) // last: what is refused uses nothing up
}

// limited reports whether a request counts for the limits of its server. What a
// translated session asks as it is opened is its initialize, which has been counted;
// and what the gateway asks of itself (what tools there are, what it listens to for a
// session) is no request of its client, who would have fewer than the configuration says.
func (p *passage) limited(ctx context.Context) bool {
	by := passengerOf(ctx)
	itself := by.Transport == "" && by.Correlation == ""
	opening := by.opening != "" && by.opening == p.server
	return p.rules.Limits != nil && !itself && !opening
}

// permit asks the rules about everything that a request names.
func (p *passage) permit() error {
	if p.rules.RBAC == nil {
		return nil
	}
	for i := range p.wants.asked {
		asked := &p.wants.asked[i]
		asked.Identity, asked.Project, asked.Server, asked.Now = &p.caller, p.project, p.server, p.started
		decision := p.rules.RBAC.Decide(asked)
		if p.record != nil {
			p.record.Rule = decision.Rule
		}
		if !decision.Allowed {
			return &ForbiddenError{p.caller.Subject, p.server, what(asked)}
		}
	}
	return nil
}

// listed reports whether the caller may know of something that the server lists.
func (g *guard) listed(asked rbac.Request) bool {
	if g.rules.RBAC == nil {
		return true
	}
	asked.Identity, asked.Project, asked.Server, asked.Now, asked.Listing = &g.caller, g.project, g.server, time.Now(), true
	return g.rules.RBAC.Decide(&asked).Allowed
}

// describe begins what the audit log will be told of a request; nil without one.
func (p *passage) describe(ctx context.Context, request mcp.Message) *audit.Record {
	if p.rules.Audit == nil {
		return nil
	}
	r := identified(passengerOf(ctx).Origin, p.caller, p.started)
	r.Event, r.Decision = audit.EventCall, audit.Allow
	r.Project, r.Server, r.MCPMethod, r.Name = p.project, p.server, p.wants.method, p.wants.name()
	r.Trace = traceOf(p.call.Request) // an observer may have begun one
	r.BytesIn = int64(len(request.Raw()))
	r.Arguments = request.At(request.Param("arguments"))
	return r
}

// traceOf is the trace id of the context that a client sent (W3C Trace Context:
// version-traceid-parentid-flags); "" without one.
func traceOf(request mcp.Message) string {
	parent, _ := request.Text(request.Param("_meta", "traceparent"))
	if len(parent) < 55 || parent[2] != '-' || parent[35] != '-' {
		return ""
	}
	return parent[3:35]
}
