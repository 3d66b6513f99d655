package gate

import (
	"context"

	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// stateless serves a request of the stateless era.
func (g *Gate) stateless(ctx context.Context, r Request) (Reply, error) {
	if r.Message.Kind() != mcp.Request {
		return Reply{}, nil // that era has no notification that means anything but to a Duplex
	}
	server, err := g.server(r, fleet.Owner{Subject: r.Caller.Subject})
	if err != nil {
		return Reply{}, err
	}
	call, err := server.Do(ctx, r.Message)
	if err != nil {
		return Reply{}, err
	}
	return Reply{Call: call}, nil
}

// server is what a request is addressed to, for one owner.
func (g *Gate) server(r Request, owner fleet.Owner) (link.Server, error) {
	names, err := g.policy.Resolve(r.Caller, r.Scope)
	if err != nil {
		return nil, err
	}
	if r.Scope.Server == "" {
		return nil, errMerged
	}
	return g.fleet.Server(g.spec(names[0]), owner), nil
}
