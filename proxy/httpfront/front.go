// Package httpfront serves the Streamable HTTP transport of MCP at
// /servers/{server}/mcp: it decides whether a request may be looked at at all
// (host, origin, credential, size, time), decodes it, passes it through the gate,
// and encodes what comes back. It never talks to a server itself, and it trusts
// nothing that a client says of itself.
//
// Runs in: proxy.
package httpfront

import (
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/httpio"
	"mcpgateway/proxy/mcp"
)

// Current is what the front enforces now: one policy generation.
type Current = gate.Current

// Front is the HTTP handler for clients.
type Front struct {
	current func() *Current
	log     *slog.Logger
	bodies  *budget
	closing chan struct{} // closed when no new stream may begin and listeners end
}

// New returns a front. current gives the generation in force, nil before the
// first one; each request uses one generation throughout.
func New(current func() *Current, log *slog.Logger) *Front {
	return &Front{current: current, log: log, bodies: newBudget(), closing: make(chan struct{})}
}

// exchange is one HTTP request on its way.
type exchange struct {
	*Front
	*Current
	out    *writer
	r      *http.Request
	caller policy.Identity
	scope  policy.Scope
}

// ServeHTTP serves one request. A panic ends that request alone.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{Front: f, out: newWriter(w), r: r}
	defer x.contain()
	x.Current = f.current()
	x.out.w.Extend(httpio.WriteWait)
	if r.ContentLength != 0 {
		// Also for a body that is refused: the server reads on to its end.
		x.out.w.LimitBody(time.Now().Add(bodyWait))
	}
	setHeaders(w.Header())
	if refused := x.admit(); refused != nil {
		if x.caller.Subject == "" || r.ContentLength != 0 {
			// A stranger keeps no connection, and a body is not read to its end.
			w.Header().Set("Connection", "close")
		}
		x.out.refuse(*refused)
		return
	}
	switch r.Method {
	case http.MethodPost:
		x.post()
	case http.MethodGet:
		x.get()
	case http.MethodDelete:
		x.delete()
	case http.MethodOptions:
		x.preflight()
	}
}

// contain turns a panic into an answer, or into the end of one that has begun.
func (x *exchange) contain() {
	problem := recover()
	if problem == nil {
		return
	}
	x.log.Error("request panicked", "err", problem, "stack", string(debug.Stack()))
	if x.out.w.Begun() {
		panic(http.ErrAbortHandler)
	}
	x.out.refuse(refusal{status: http.StatusInternalServerError, code: mcp.CodeInternal, text: "internal error"})
}

// admit decides whether the request is looked at: the cheap checks first, and
// the credential before anything that depends on what is configured.
func (x *exchange) admit() *refusal {
	if x.Current == nil {
		return &refusal{status: http.StatusServiceUnavailable, code: mcp.CodeInternal, text: "the gateway is starting", retryAfter: true}
	}
	if !hostAllowed(x.r, x.Policy.HTTP.AllowedHosts) {
		return &refusal{status: http.StatusForbidden, text: "the Host header names no host of this gateway"}
	}
	if !x.allowOrigin() {
		return &refusal{status: http.StatusForbidden, text: "the Origin is not allowed"}
	}
	switch x.r.Method {
	case http.MethodOptions:
		return nil
	case http.MethodPost, http.MethodGet, http.MethodDelete:
	default:
		return &refusal{status: http.StatusMethodNotAllowed, allow: "POST, GET, DELETE, OPTIONS", text: "method not allowed"}
	}
	// Clients that look for OAuth (RFC 9728, RFC 8414) take 404 as "there is none".
	if strings.HasPrefix(x.r.URL.Path, "/.well-known/") {
		return &refusal{status: http.StatusNotFound, text: "nothing is here"}
	}
	caller, err := x.Keys.Authenticate(x.r.Header)
	if err != nil {
		return &refusal{status: http.StatusUnauthorized, text: err.Error()}
	}
	x.caller = caller
	// As it was sent: an escaped slash is no separator.
	server, ok := serverOf(x.r.URL.EscapedPath())
	if !ok {
		return &refusal{status: http.StatusNotFound, text: "nothing is here: a server is at /servers/{server}/mcp"}
	}
	x.scope = policy.Scope{Server: server}
	if err := x.Gate.Authorize(caller, x.scope); err != nil {
		return x.refusalOf(err, nil)
	}
	return nil
}

// serverOf takes the server's name out of /servers/{server}/mcp.
func serverOf(path string) (server string, ok bool) {
	rest, begins := strings.CutPrefix(path, "/servers/")
	server, ends := strings.CutSuffix(rest, "/mcp")
	return server, begins && ends && server != "" && !strings.Contains(server, "/")
}

func setHeaders(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
}

// Times. No one of them bounds a whole stream.
const (
	headerWait = 10 * time.Second  // for a request's headers
	bodyWait   = 30 * time.Second  // for a request's body
	idleWait   = 120 * time.Second // for the next request on a connection
	quietWait  = 15 * time.Second  // before a comment keeps a stream alive
	graceWait  = 5 * time.Second   // for calls in flight when the gateway stops
)

const (
	maxHeaderBytes = 32 << 10
	maxConnections = 8192

	maxAdminConnections = 64
)
