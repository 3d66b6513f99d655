package httpfront

import (
	"errors"
	"net/http"

	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/headers"
	"mcpgateway/proxy/httpio"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/ssefront"
)

// overSSE serves HTTP+SSE: a GET opens a stream, a POST to the address that it
// gives is for it.
func (x *exchange) overSSE() {
	method := http.MethodGet
	if x.at.message != "" {
		method = http.MethodPost
	}
	switch {
	case x.r.Method != method:
		x.out.refuse(refusal{status: http.StatusMethodNotAllowed, allow: method, text: "HTTP+SSE has only " + method + " here"})
	case method == http.MethodPost:
		x.post()
	case !httpio.Accepts(x.r.Header, httpio.TypeEvents):
		x.out.refuse(refusal{status: http.StatusNotAcceptable, text: "Accept must list text/event-stream"})
	default:
		err := x.sse.Serve(x.out.w, x.r, ssefront.Admitted{
			Origin: x.streamOrigin(), Caller: x.caller, Scope: x.scope, Gate: func() *gate.Gate { return x.current().Gate }, Allowed: x.stillAllowed,
			Closing: x.closing, MaxStreams: x.Policy.Limits.MaxSessionsPerCaller,
		})
		if err != nil {
			x.out.refuse(refusal{status: http.StatusServiceUnavailable, code: mcp.CodeInternal, text: err.Error(), retryAfter: soon})
		}
	}
}

// receive takes a message for a stream of HTTP+SSE.
func (x *exchange) receive(body []byte) {
	revision, problem := headers.Revision(x.r.Header)
	if problem == nil && revision != "" && !mcp.Handshake(revision) {
		problem = headers.Unsupported(revision)
	}
	if problem != nil {
		x.out.refuse(*malformed(problem, nil))
		return
	}
	m, refused := parse(body)
	if refused != nil {
		x.out.refuse(*refused)
		return
	}
	switch err := x.sse.Receive(x.caller, x.scope, x.at.message, m); {
	case errors.Is(err, ssefront.ErrUnknown):
		x.out.refuse(refusal{status: http.StatusNotFound, id: idOf(m), text: err.Error()})
	case err != nil:
		x.out.refuse(refusal{status: http.StatusServiceUnavailable, code: mcp.CodeInternal, id: idOf(m), text: err.Error(), retryAfter: soon})
	default:
		x.out.w.WriteHeader(http.StatusAccepted)
	}
}
