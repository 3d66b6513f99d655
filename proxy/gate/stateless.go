package gate

import (
	"context"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/ratelimit"
	"mcpgateway/proxy/catalog"
	"mcpgateway/proxy/mcp"
)

// stateless serves a request of the stateless era.
func (v *visitor) stateless(ctx context.Context, m mcp.Message) (Reply, error) {
	if m.Kind() != mcp.Request {
		return Reply{}, nil // that era has no notification that means anything but to a Duplex
	}
	if mcp.HandshakeOnly(m.Method()) {
		return Reply{}, &MethodError{m.Method()}
	}
	call, err := v.server.Do(ctx, m)
	if err != nil {
		return Reply{}, err
	}
	return Reply{Call: call}, nil
}

// Tool returns the definition of a tool as its server lists it, raw; nil if there
// is no such tool. fresh asks the server again if the definition is remembered, and counts as a
// request of the caller.
func (g *Gate) Tool(ctx context.Context, caller *policy.Identity, scope policy.Scope, name string, fresh bool) ([]byte, error) {
	if fresh && g.rules.Limits != nil {
		place, err := g.rules.Limits.EnterGateway(ratelimit.Call{Subject: caller.Subject, Now: time.Now()})
		if err != nil {
			return nil, err
		}
		defer place.Leave()
	}
	v, err := g.visit(caller, scope)
	if err != nil {
		return nil, err
	}
	if fresh { // then it counts for the server, too
		ctx = &passenger{Context: ctx, Origin: Origin{Correlation: g.sessions.correlations.Next()}, caller: v.caller}
	}
	if many, ok := v.server.(*merged); ok {
		return many.Tool(ctx, name, fresh)
	}
	return g.sessions.lists.Tool(ctx, v.lists(), catalog.Member{Name: scope.Server, Server: v.server}, name, fresh)
}
