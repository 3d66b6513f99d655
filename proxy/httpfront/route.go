package httpfront

import (
	"strings"

	"mcpgateway/policy"
	"mcpgateway/proxy/restfront"
)

// endpoint is what is served at a path.
type endpoint int

const (
	nothing  endpoint = iota
	mcpPoint          // …/mcp: Streamable HTTP
	ssePoint          // …/sse, and …/sse/{id} for what its client sends: HTTP+SSE
	wsPoint           // …/ws: WebSocket
	restAPI           // /api/v1/…
)

// address is where a request is to go.
type address struct {
	endpoint endpoint
	scope    policy.Scope
	message  string // the last part of …/sse/{message}
}

// route reads a path as it was sent: an escaped slash is no separator. A server's
// endpoints are below /servers/{server}, those of a project's servers together
// below /projects/{project}, and those of all servers below /.
func route(path string) address {
	if strings.HasPrefix(path, restfront.Prefix) {
		return address{endpoint: restAPI}
	}
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	var a address
	switch {
	case len(parts) > 2 && parts[0] == "servers" && parts[1] != "":
		a.scope.Server, parts = parts[1], parts[2:]
	case len(parts) > 2 && parts[0] == "projects" && parts[1] != "":
		a.scope.Project, parts = parts[1], parts[2:]
	}
	switch {
	case len(parts) == 1 && parts[0] == "mcp":
		a.endpoint = mcpPoint
	case len(parts) == 1 && parts[0] == "sse":
		a.endpoint = ssePoint
	case len(parts) == 2 && parts[0] == "sse" && parts[1] != "":
		a.endpoint, a.message = ssePoint, parts[1]
	case len(parts) == 1 && parts[0] == "ws":
		a.endpoint = wsPoint
	}
	return a
}
