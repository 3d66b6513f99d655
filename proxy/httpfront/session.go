package httpfront

import (
	"net/http"
	"time"

	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/httpio"
	"mcpgateway/proxy/mcp"
)

// get opens the stream of what a server sends unasked in a session.
func (x *exchange) get() {
	id, refused := x.session()
	if refused == nil && !httpio.Accepts(x.r.Header, httpio.TypeEvents) {
		refused = &refusal{status: http.StatusNotAcceptable, text: "Accept must list text/event-stream"}
	}
	if refused != nil {
		x.out.refuse(*refused)
		return
	}
	listener, err := x.Gate.Listen(x.caller, x.scope, id)
	if err != nil {
		x.out.refuse(*x.refusalOf(err, nil))
		return
	}
	defer listener.Stop()
	x.listen(listener)
}

// listen writes events until the client, the session or the gateway ends.
func (x *exchange) listen(listener *gate.Listener) {
	if x.out.comment() != nil { // the client sees at once that it is connected
		return
	}
	quiet := time.NewTicker(quietWait)
	defer quiet.Stop()
	for {
		var err error
		select {
		case <-listener.Ready():
			for _, m := range listener.Take() {
				if err = x.out.event(m); err != nil {
					break
				}
			}
		case <-quiet.C:
			if !x.stillAllowed() {
				return
			}
			err = x.out.comment()
		case <-listener.Done:
			return
		case <-x.closing:
			return
		case <-x.r.Context().Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// stillAllowed asks again whether the caller of a long stream may have it: a key is
// revoked, or ends, and streams with it.
func (x *exchange) stillAllowed() bool {
	now := x.current()
	caller, err := now.Keys.Authenticate(x.r.Header)
	return err == nil && now.Gate.Authorize(caller, x.scope) == nil
}

// delete ends a session.
func (x *exchange) delete() {
	id, refused := x.session()
	if refused != nil {
		x.out.refuse(*refused)
		return
	}
	if err := x.Gate.End(x.caller, x.scope, id); err != nil {
		x.out.refuse(*x.refusalOf(err, nil))
		return
	}
	x.out.empty(http.StatusNoContent)
}

// session is the id of the session that a GET or DELETE is for. The stateless
// era has neither of them.
func (x *exchange) session() (id string, refused *refusal) {
	revision, ok := single(x.r.Header, mcp.HeaderRevision)
	switch {
	case !ok:
		return "", mismatch("the header %s was sent more than once", mcp.HeaderRevision)
	case mcp.Stateless(revision):
		return "", &refusal{status: http.StatusMethodNotAllowed, allow: "POST", text: "revision " + revision + " has only POST"}
	case revision != "" && !mcp.Handshake(revision):
		return "", unsupported(revision)
	}
	if id, ok = single(x.r.Header, mcp.HeaderSession); id == "" || !ok {
		return "", &refusal{status: http.StatusBadRequest, text: "the header " + mcp.HeaderSession + " is missing, or was sent more than once"}
	}
	return id, nil
}
