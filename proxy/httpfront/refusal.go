package httpfront

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/mcp"
	"mcpgateway/runtime/control"
)

// refusal is an answer that no server gave.
type refusal struct {
	status     int
	code       int    // of JSON-RPC; 0 means mcp.CodeInvalidRequest
	id         []byte // raw; nil if the request has none or none that was read
	text       string
	data       []byte // raw; nil for none
	allow      string // methods, with status 405
	retryAfter bool
}

// refuse writes a refusal, as a JSON-RPC error whatever the status. It does
// nothing if an answer has begun.
func (o *writer) refuse(r refusal) {
	if o.begun {
		return
	}
	h := o.w.Header()
	switch {
	case r.status == http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	case r.allow != "":
		h.Set("Allow", r.allow)
	case r.retryAfter:
		h.Set("Retry-After", "5")
	}
	if r.code == 0 {
		r.code = mcp.CodeInvalidRequest
	}
	o.last(r.status, mcp.NewError(r.id, r.code, r.text, r.data))
}

// refusalOf turns an error of the gate into an answer. What happened to a server
// is an error inside the protocol, and so HTTP's status is 200 for a request; a
// message without an id can only be refused by HTTP (2025-11-25, transports).
func (x *exchange) refusalOf(err error, id []byte) *refusal {
	var denied *policy.DeniedError
	var session *gate.SessionError
	var method *gate.MethodError
	var daemon *control.Error
	r := refusal{status: http.StatusOK, code: mcp.CodeInternal, id: id, text: err.Error()}
	switch {
	case errors.As(err, &denied):
		r.status, r.code = http.StatusNotFound, mcp.CodeInvalidRequest
		r.text = fmt.Sprintf("there is no server %.100q", x.server)
	case errors.As(err, &session):
		r.status, r.code = http.StatusNotFound, mcp.CodeInvalidRequest
	case errors.Is(err, gate.ErrNoSession):
		r.status, r.code = http.StatusBadRequest, mcp.CodeInvalidRequest
	case errors.Is(err, gate.ErrListening):
		r.status, r.code = http.StatusConflict, mcp.CodeInvalidRequest
	case errors.As(err, &method):
		r.status, r.code = http.StatusNotFound, mcp.CodeMethodNotFound
	case errors.Is(err, gate.ErrSessionLimit), errors.Is(err, backend.ErrBusy),
		errors.As(err, &daemon) && daemon.Code == control.CodeLimit:
		r.status, r.retryAfter = http.StatusServiceUnavailable, true
	case errors.Is(err, context.Canceled):
		r.status, r.text = http.StatusBadGateway, "the request was given up"
	case id == nil:
		r.status = http.StatusBadGateway
	}
	return &r
}
