package httpfront

import (
	"cmp"
	"net/http"
	"time"

	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/headers"
	"mcpgateway/proxy/httpio"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/restfront"
)

// soon is when to come again, if nothing better is known.
const soon = 5 * time.Second

// refusal is an answer that no server gave.
type refusal struct {
	status     int
	code       int    // of JSON-RPC; 0 means mcp.CodeInvalidRequest
	id         []byte // raw; nil if the request has none or none that was read
	text       string
	data       []byte        // raw; nil for none
	allow      string        // methods, with status 405
	retryAfter time.Duration // 0: nothing is said of when to come again
	challenge  string        // WWW-Authenticate
}

// refuse refuses the request in the way of its transport.
func (x *exchange) refuse(r refusal) {
	if x.at.endpoint == restAPI {
		r.problem().Write(x.out.w, x.r)
		return
	}
	x.out.refuse(r)
}

func (r refusal) problem() *restfront.Problem {
	return &restfront.Problem{Status: r.status, Detail: r.text, Allow: r.allow, RetryAfter: r.retryAfter, Challenge: r.challenge}
}

// refuse writes a refusal, as a JSON-RPC error whatever the status. It does
// nothing if an answer has begun.
func (o *writer) refuse(r refusal) {
	if o.w.Begun() {
		return
	}
	h := o.w.Header()
	if r.challenge != "" {
		h.Set("WWW-Authenticate", r.challenge)
	}
	if r.allow != "" {
		h.Set("Allow", r.allow)
	}
	httpio.RetryAfter(h, r.retryAfter)
	if r.code == 0 {
		r.code = mcp.CodeInvalidRequest
	}
	o.whole(r.status, mcp.NewError(r.id, r.code, r.text, r.data))
}

// malformed refuses a request for its headers.
func malformed(p *headers.Problem, id []byte) *refusal {
	return &refusal{status: http.StatusBadRequest, code: p.Code, id: id, text: p.Text, data: p.Data}
}

// refusalOf turns an error of the gate into an answer. What happened to a server
// is an error inside the protocol, and so HTTP's status is 200 for a request; a
// message without an id can only be refused by HTTP (2025-11-25, transports).
func (x *exchange) refusalOf(err error, id []byte) *refusal {
	cause := gate.RefusalOf(err)
	r := refusal{status: http.StatusOK, code: cause.Code, id: id, text: cause.Text}
	switch cause.Reason {
	case gate.Unknown, gate.Gone, gate.NoMethod:
		r.status = http.StatusNotFound
	case gate.Unopened:
		r.status = http.StatusBadRequest
	case gate.Conflict:
		r.status = http.StatusConflict
	case gate.Busy, gate.Away:
		r.status, r.retryAfter = http.StatusServiceUnavailable, cmp.Or(cause.RetryAfter, soon)
	case gate.Limited:
		r.status, r.retryAfter = http.StatusTooManyRequests, cmp.Or(cause.RetryAfter, time.Second)
	case gate.Forbidden:
		r.status, r.challenge = http.StatusForbidden, x.challenge(err)
	case gate.Stranger:
		r.status, r.challenge = http.StatusUnauthorized, x.challenge(err)
	case gate.GivenUp:
		r.status = http.StatusBadGateway
	case gate.Failed:
		if id == nil {
			r.status = http.StatusBadGateway
		}
	}
	return &r
}
