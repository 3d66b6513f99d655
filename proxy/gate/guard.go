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
	caller  *policy.Identity
	server  string // "" for a session with many, before anybody is asked
	project string
	fetch   func(context.Context) error // has the server list its tools, past the guard
}

// send passes a message on to the server behind a guard: a link.Server.
type send func(context.Context, mcp.Message) (link.Call, error)

// Do passes a request on.
func (s send) Do(ctx context.Context, request mcp.Message) (link.Call, error) { return s(ctx, request) }

// guard returns the guard of what a scope is.
func (g *Gate) guard(caller *policy.Identity, scope policy.Scope) *guard {
	if scope.Server != "" {
		scope.Project = g.policy.Servers[scope.Server].Project
	}
	return &guard{Gate: g, caller: caller, server: scope.Server, project: scope.Project}
}

// guarded is a server with a guard before it.
type guarded struct {
	*guard
	inner  link.Server
	repeat send       // again, found once
	spec   retry.Spec // of the server itself
	tools  map[string]policy.Tool
}

// guarded returns a server for an owner, behind its guard.
func (g *Gate) guarded(caller *policy.Identity, server string, owner fleet.Owner) link.Server {
	rules := g.policy.Servers[server]
	s := &guarded{
		guard: g.guard(caller, policy.Scope{Server: server}), inner: g.fleet.Server(g.spec(server), owner), tools: rules.Tools,
		spec: retry.Spec{Retry: rules.Retry, Limit: rules.MaxTimeout, Server: server},
	}
	s.fetch = func(ctx context.Context) error { return s.observe(ctx, s.inner) }
	s.repeat = s.again
	return s
}

// Do passes a request on, if the guard lets it.
func (s *guarded) Do(ctx context.Context, request mcp.Message) (link.Call, error) {
	return s.pass(ctx, request, s.repeat)
}

// again passes a request on, and does so again where that can change nothing.
func (s *guarded) again(ctx context.Context, request mcp.Message) (link.Call, error) {
	spec := s.spec
	spec.Log = s.fleet.Log()
	if request.Method() == mcp.MethodToolsCall {
		tool, _ := request.Text(request.Param("name"))
		spec.Idempotent = s.sessions.hints.idempotent(s.server, tool)
		if own, ok := s.tools[tool]; ok {
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
	p := &passage{guard: g}
	p.wants.parse(request)
	ctx = p.begin(ctx, request, time.Now())
	if err := p.reserve(ctx); err != nil {
		p.tell(statusOf(err), err.Error(), true)
		return nil, err
	}
	if err := p.judge(ctx); err != nil {
		p.refused(err)
		return nil, err
	}
	call, err := to(p.inside(ctx), p.call.Request)
	if err != nil {
		p.end(statusOf(err), err.Error())
		return nil, err
	}
	p.watched = watched{Call: call, passage: p}
	if p.wants.method == mcp.MethodListen {
		p.lasts()
		go p.follow(&p.watched) // ends with the call
	}
	return &p.watched, nil
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
	if p.rules.Audit != nil || len(p.rules.Observers) > 0 {
		ctx = link.WithWatcher(ctx, p)
	}
	if p.wants.method == mcp.MethodInitialize {
		within := *p.by
		within.Context, within.opening = ctx, p.server
		ctx = &within
	}
	return ctx
}

// judge decides whether a request is passed on.
func (p *passage) judge(ctx context.Context) (err error) {
	if p.limited() {
		p.place, err = p.rules.Limits.EnterServer(ratelimit.Call{Subject: p.caller.Subject, Server: p.server, Tool: p.wants.tool, Now: p.call.Started})
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
func (p *passage) limited() bool {
	itself := p.by.Transport == "" && p.by.Correlation == ""
	opening := p.by.opening != "" && p.by.opening == p.server
	return p.rules.Limits != nil && !itself && !opening
}

// permit asks the rules about everything that a request names.
func (p *passage) permit() error {
	if p.rules.RBAC == nil {
		return nil
	}
	for i := range p.wants.asked {
		asked := &p.wants.asked[i]
		asked.Identity, asked.Project, asked.Server, asked.Now = p.caller, p.project, p.server, p.call.Started
		decision := p.rules.RBAC.Decide(asked)
		p.rule = decision.Rule
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
	asked.Identity, asked.Project, asked.Server, asked.Now, asked.Listing = g.caller, g.project, g.server, time.Now(), true
	return g.rules.RBAC.Decide(&asked).Allowed
}

// describe is what the audit log is told of a request.
func (p *passage) describe(status, reason string) audit.Record {
	r := identified(p.by.Origin, p.caller, p.call.Started)
	r.Event, r.Decision = audit.EventCall, audit.Allow
	if p.denied {
		r.Event, r.Decision = audit.EventDenied, audit.Deny
	}
	r.Project, r.Server, r.MCPMethod, r.Name, r.Rule = p.project, p.server, p.wants.method, p.call.Name, p.rule
	r.Trace = traceOf(p.call.Request) // an observer may have begun one
	r.Arguments = p.wants.arguments()
	r.Status, r.Reason = status, reason
	r.Instance, r.Duration, r.BytesIn, r.BytesOut = p.call.Instance, p.call.Duration, p.call.BytesIn, p.call.BytesOut
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
