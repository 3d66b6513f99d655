package httpfront

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"mcpgateway/policy/authn"
	"mcpgateway/proxy/httpio"
	"mcpgateway/proxy/restfront"
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
		Transport: x.door(), Header: x.r.Header, TLS: x.r.TLS, Source: sourceOf(x.r), Resource: x.resource(x.r.URL.EscapedPath()),
	}
}

// door is the name of the listener that a request came by.
func (x *exchange) door() string {
	switch doorOf(x.r.Context()) {
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

func sourceOf(r *http.Request) netip.Addr {
	from, _ := netip.ParseAddrPort(r.RemoteAddr) // invalid where connections have no such addresses
	return from.Addr().Unmap().WithZone("")
}

// resource is the address of an endpoint as its clients know it (RFC 8707): tokens
// are made for it.
func (x *exchange) resource(path string) string {
	a := route(path)
	switch {
	case a.endpoint == restAPI:
		path = strings.TrimSuffix(restfront.Prefix, "/")
	case a.message != "":
		path = strings.TrimSuffix(path, "/"+a.message)
	}
	return x.base() + path
}

// base is scheme and host of this gateway as its clients know them.
func (x *exchange) base() string {
	if known := x.Policy.HTTP.PublicURL; known != "" {
		return strings.TrimSuffix(known, "/")
	}
	scheme := "http://"
	if x.r.TLS != nil {
		scheme = "https://"
	}
	return scheme + x.host()
}

// host is the Host header, which was found to be ours; but "localhost" in it is this
// machine only for who came by its loopback. Else a token that was made for a gateway
// on anybody's own machine would be good for all of them.
func (x *exchange) host() string {
	local, ok := x.r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if ok && !local.IP.IsLoopback() && isLoopback(hostname(x.r.Host)) {
		return local.String()
	}
	return x.r.Host
}

// challenge says how to come in (RFC 9110, section 11.6.1; RFC 9728, section 5.1).
func (x *exchange) challenge(err error) string {
	return x.Auth.Challenge(err, x.base()+protectedResource+strings.TrimPrefix(x.resource(x.r.URL.EscapedPath()), x.base()))
}

// metadata answers what the authorization servers of an endpoint are, for every path
// alike: it does not tell which servers there are. Clients take 404 as "there are
// none".
func (x *exchange) metadata() {
	path, found := strings.CutPrefix(x.r.URL.EscapedPath(), protectedResource)
	document := x.Auth.Metadata(x.resource(path))
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
