package httpfront

import (
	"context"
	"net/http"
	"strings"

	"mcpgateway/policy/authn"
	"mcpgateway/proxy/httpio"
)

// headerRequest tells a client under which id the audit log has its request.
const headerRequest = "Mcp-Gateway-Request-Id"

// wellKnown is where clients look for what is public of a host (RFC 8615).
const wellKnown = "/.well-known/"

// protectedResource begins the paths of the metadata of each endpoint (RFC 9728,
// section 3.1).
const protectedResource = wellKnown + "oauth-protected-resource"

// credentials is what a request shows of its sender.
func (x *exchange) credentials() authn.Request {
	return authn.Request{
		Transport: x.listener(), Header: x.r.Header, TLS: x.r.TLS, Source: x.source, Resource: x.resource,
	}
}

// listener is the name of the listener that a request came by.
func (x *exchange) listener() string {
	switch x.door {
	case doorWebSocket:
		return "websocket"
	case doorSSE:
		return "sse"
	case doorHTTP:
	}
	return "http"
}

// transport is what the audit log calls the way that a request came.
func (x *exchange) transport() string {
	switch x.at.endpoint {
	case wsPoint:
		return "websocket"
	case ssePoint:
		return "sse"
	case restAPI:
		return "rest"
	case mcpPoint, nothing:
	}
	return "http"
}

// challenge says how to come in (RFC 9110, section 11.6.1; RFC 9728, section 5.1).
func (x *exchange) challenge(err error) string {
	return x.Auth.Challenge(err, x.base+protectedResource+strings.TrimPrefix(x.resource, x.base))
}

// metadata answers what the authorization servers of an endpoint are, for every path
// alike: it does not tell which servers there are. Clients take 404 as "there are
// none".
func (x *exchange) metadata() {
	path, found := strings.CutPrefix(x.path, protectedResource)
	document := x.Auth.Metadata(x.base + endpointPath(path))
	switch {
	case !found || path != "" && path[0] != '/' || document == nil:
		x.out.refuse(refusal{status: http.StatusNotFound, text: "nothing is here"})
	case x.r.Method != http.MethodGet && x.r.Method != http.MethodHead:
		x.out.refuse(refusal{status: http.StatusMethodNotAllowed, allow: "GET, HEAD", text: "method not allowed"})
	default:
		x.out.w.Header().Set("Content-Type", httpio.TypeJSON)
		_, _ = x.out.w.Write(document) // a client that has gone needs no answer
	}
}

// stillAllowed asks again whether the caller of a long stream may have it.
func (x *exchange) stillAllowed() bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), renewWait)
	defer cancel()
	return x.current().Renew(ctx, x.shown, x.scope) == nil
}
