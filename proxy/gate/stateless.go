package gate

import (
	"context"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/ratelimit"
	"mcpgateway/proxy/catalog"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// stateless serves a request of the stateless era.
func (g *Gate) stateless(ctx context.Context, r Request) (Reply, error) {
	if r.Message.Kind() != mcp.Request {
		return Reply{}, nil // that era has no notification that means anything but to a Duplex
	}
	if mcp.HandshakeOnly(r.Message.Method()) {
		return Reply{}, &MethodError{r.Message.Method()}
	}
	server, err := g.server(r.Caller, r.Scope, fleet.Owner{Subject: r.Caller.Subject})
	if err != nil {
		return Reply{}, err
	}
	call, err := server.Do(ctx, r.Message)
	if err != nil {
		return Reply{}, err
	}
	return Reply{Call: call}, nil
}

// server is what a scope means for one owner: a server, or the catalogue of all that
// the caller may use.
func (g *Gate) server(caller policy.Identity, scope policy.Scope, owner fleet.Owner) (link.Server, error) {
	names, err := g.Resolve(caller, scope)
	if err != nil {
		return nil, err
	}
	if scope.Server != "" {
		return g.guarded(caller, scope.Server, owner), nil
	}
	return g.merged(caller, names, owner), nil
}

// Tool returns the definition of a tool as its server lists it, raw; nil if there
// is no such tool. fresh asks the server again if the definition is remembered, and counts as a
// request of the caller.
func (g *Gate) Tool(ctx context.Context, caller policy.Identity, scope policy.Scope, name string, fresh bool) ([]byte, error) {
	if fresh && g.rules.Limits != nil {
		place, err := g.rules.Limits.EnterGateway(ratelimit.Call{Subject: caller.Subject, Now: time.Now()})
		if err != nil {
			return nil, err
		}
		defer place.Leave()
	}
	names, err := g.Resolve(caller, scope)
	if err != nil {
		return nil, err
	}
	if fresh { // then it counts for the server, too
		ctx = withPassenger(ctx, passenger{Origin: Origin{Correlation: g.sessions.correlations.Next()}, caller: caller})
	}
	owner := fleet.Owner{Subject: caller.Subject}
	if scope.Server == "" {
		return g.merged(caller, names, owner).Tool(ctx, name, fresh)
	}
	member := catalog.Member{Name: scope.Server, Server: g.guarded(caller, scope.Server, owner)}
	return g.sessions.lists.Tool(ctx, g.remembered(caller, owner), member, name, fresh)
}
