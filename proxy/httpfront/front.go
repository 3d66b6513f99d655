// Package httpfront is the door for all clients that come by HTTP: it decides
// whether a request may be looked at at all (host, origin, credential, size, time)
// and finds the transport that its path is of. The others have fronts of their
// own; Streamable HTTP is here: it decodes a message, passes it through the gate,
// and encodes what comes back. It never talks to a server itself, and it trusts
// nothing that a client says of itself.
//
// Runs in: proxy.
package httpfront

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/authn"
	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/httpio"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/ssefront"
	"mcpgateway/proxy/wsfront"
	"mcpgateway/runtime/control"
)

// Current is what the front enforces now: one policy generation.
type Current = gate.Current

// Front is the HTTP handler for clients.
type Front struct {
	current  func() *Current
	log      *slog.Logger
	budgets  *budgets
	sessions *sessions
	sse      *ssefront.Front
	ws       *wsfront.Front
	ids      *gate.Correlations
	timers   timers
	closing  chan struct{} // closed when no new stream may begin and listeners end
}

// New returns a front. current gives the generation in force, nil before the
// first one; each request uses one generation throughout.
func New(current func() *Current, log *slog.Logger) *Front {
	return &Front{
		current: current, log: log, budgets: newBudgets(), sessions: newSessions(), sse: ssefront.New(log), ws: wsfront.New(log),
		ids: gate.NewCorrelations(rand.Text()[:10]), closing: make(chan struct{}),
	}
}

// exchange is one HTTP request on its way.
type exchange struct {
	*Front
	*Current
	*connection
	*place
	out    writer
	r      *http.Request
	came   time.Time
	caller *policy.Identity // nil before it is known
	scope  policy.Scope
	shown  authn.Request // what the request shows of its sender
	wishes httpio.Wishes // of a POST
	origin gate.Origin
	budget *budget // that the request is counted in; nil before it is
	held   int64   // bytes of the body, which are, too
}

// ServeHTTP serves one request. A panic ends that request alone.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{Front: f, out: newWriter(w), r: r, came: time.Now(), place: nowhere}
	defer x.contain()
	defer x.release()
	x.Current = f.current()
	x.out.w.Extend(x.came.Add(httpio.WriteWait))
	if r.ContentLength != 0 {
		// Also for a body that is refused: the server reads on to its end.
		x.out.w.LimitBody(x.came.Add(bodyWait))
	}
	setHeaders(w.Header())
	x.connection = connectionOf(r)
	x.place = x.find(r, x.publicURL())
	if refused := x.admit(); refused != nil {
		if x.caller == nil || r.ContentLength != 0 {
			// A stranger keeps no connection, and a body is not read to its end.
			w.Header().Set("Connection", "close")
		}
		x.refuse(*refused)
		return
	}
	switch {
	case r.Method == http.MethodOptions:
		x.preflight()
	case strings.HasPrefix(r.URL.Path, wellKnown):
		x.metadata()
	case x.at.endpoint == restAPI:
		x.overREST()
	case x.at.endpoint == wsPoint:
		x.overWebSocket()
	case x.at.endpoint == ssePoint:
		x.overSSE()
	default:
		x.streamable()
	}
}

// streamable serves Streamable HTTP.
func (x *exchange) streamable() {
	switch x.r.Method {
	case http.MethodPost:
		x.post()
	case http.MethodGet:
		x.get()
	case http.MethodDelete:
		x.delete()
	}
}

// contain turns a panic into an answer, or into the end of one that has begun.
func (x *exchange) contain() {
	problem := recover()
	if problem == nil {
		return
	}
	ctx := control.WithCorrelation(x.r.Context(), x.origin.Correlation)
	x.log.ErrorContext(ctx, "request panicked", "err", problem, "stack", string(debug.Stack()))
	if x.out.w.Begun() {
		panic(http.ErrAbortHandler)
	}
	x.refuse(refusal{status: http.StatusInternalServerError, code: mcp.CodeInternal, text: "internal error"})
}

// admit decides whether the request is looked at: the cheap checks first, and
// the credential before anything that depends on what is configured.
func (x *exchange) admit() *refusal {
	if x.Current == nil {
		return &refusal{status: http.StatusServiceUnavailable, code: mcp.CodeInternal, text: "the gateway is starting", retryAfter: soon}
	}
	if !x.hostAllowed(x.Policy.HTTP.AllowedHosts) {
		return &refusal{status: http.StatusForbidden, text: "the Host header names no host of this gateway"}
	}
	if !x.allowOrigin() {
		return &refusal{status: http.StatusForbidden, text: "the Origin is not allowed"}
	}
	switch x.r.Method {
	case http.MethodOptions:
		return nil
	case http.MethodPost, http.MethodGet, http.MethodDelete, http.MethodHead:
	default:
		return &refusal{status: http.StatusMethodNotAllowed, allow: "POST, GET, DELETE, OPTIONS", text: "method not allowed"}
	}
	if strings.HasPrefix(x.r.URL.Path, wellKnown) {
		return nil // what is public of the gateway
	}
	if x.at.endpoint == wsPoint {
		wsfront.TakeKey(x.r.Header)
	}
	x.origin = gate.Origin{Transport: x.transport(), Source: x.source, Correlation: x.ids.Next(), Trace: gate.TraceOf(x.r.Header["Traceparent"])}
	x.out.w.Header()[headerRequest] = []string{x.origin.Correlation}
	x.shown = x.credentials()
	caller, err := x.Admit(x.r.Context(), gate.Arrival{Request: x.shown, Address: x.path, Origin: x.origin})
	if err != nil {
		return x.refusalOf(err, nil)
	}
	if !x.known(caller.Subject) {
		return &refusal{status: http.StatusServiceUnavailable, code: mcp.CodeInternal, text: "this caller has too many connections", retryAfter: soon}
	}
	x.remember(x.place)
	x.caller, x.scope = caller, x.at.scope
	if x.budget = x.budgets.take(caller.Subject, 1); x.budget == nil {
		text := fmt.Sprintf("this caller has %d requests under way, the limit", requestsPerCaller)
		return &refusal{status: http.StatusServiceUnavailable, code: mcp.CodeInternal, text: text, retryAfter: soon}
	}
	switch {
	case !x.isServed(x.at.endpoint):
		return &refusal{status: http.StatusNotFound, text: "nothing is here: a server is at /servers/{server}/mcp"}
	case x.at.endpoint == restAPI:
		return nil // its front knows whom it asks for
	case x.r.Method == http.MethodHead:
		return &refusal{status: http.StatusMethodNotAllowed, allow: "POST, GET, DELETE, OPTIONS", text: "method not allowed"}
	}
	if err := x.Gate.Enter(x.r.Context(), x.origin, caller, x.scope); err != nil {
		return x.refusalOf(err, nil)
	}
	return nil
}

// isServed reports whether the listener of the request serves an endpoint.
func (x *exchange) isServed(e endpoint) bool {
	switch e {
	case mcpPoint, restAPI:
		return x.door == doorHTTP
	case wsPoint:
		return x.door == doorWebSocket || x.door == doorHTTP && x.Policy.HTTP.WebSocket
	case ssePoint:
		return x.door == doorSSE || x.door == doorHTTP && x.Policy.HTTP.SSE
	}
	return false
}

// setHeaders sets the headers of every answer. They share their values, which nobody
// may change in place.
func setHeaders(h http.Header) {
	h["X-Content-Type-Options"] = noSniff
	h["Cache-Control"] = noStore
	h["Content-Security-Policy"] = noContent
}

var (
	noSniff    = []string{"nosniff"}
	noStore    = []string{"no-store"}
	noContent  = []string{"default-src 'none'; frame-ancestors 'none'"}
	varyOrigin = []string{"Origin"}
)

// Times. No one of them bounds a whole stream.
const (
	headerWait = 10 * time.Second  // for a request's headers
	bodyWait   = 30 * time.Second  // for a request's body
	idleWait   = 120 * time.Second // for the next request on a connection
	parkAfter  = 5 * time.Second   // before an unused connection costs nothing any more
	quietWait  = 15 * time.Second  // before a comment keeps a stream alive
	graceWait  = 8 * time.Second   // for answers when the gateway stops, which ends calls before that
	renewWait  = 5 * time.Second   // for keys that a token needs anew while its stream lasts
)

const (
	maxHeaderBytes = 32 << 10
	maxStrangers   = 1024 // connections of one address without a valid key so far

	maxAdminConnections = 64
)
