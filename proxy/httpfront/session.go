package httpfront

import (
	"errors"
	"net/http"
	"time"

	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/headers"
	"mcpgateway/proxy/httpio"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/resume"
)

const (
	// primeWait is how long an answer may take before it becomes a stream, in a
	// session whose client can then ask for the rest of it.
	primeWait = time.Second
	// resumeWait is how long that client shall wait before it asks.
	resumeWait = time.Second
)

// inSession serves a message of the handshake era.
func (x *exchange) inSession(m mcp.Message) {
	id, problem := headers.Session(x.r.Header)
	if problem != nil {
		x.out.refuse(*malformed(problem, idOf(m)))
		return
	}
	reply, err := x.Gate.Do(x.r.Context(), gate.Request{Origin: x.origin, Caller: x.caller, Scope: x.scope, Session: id, Message: m})
	switch {
	case err != nil:
		x.out.refuse(*x.refusalOf(err, idOf(m)))
	case reply.Call == nil:
		x.out.w.WriteHeader(http.StatusAccepted)
	case id == "":
		if reply.Session != "" {
			x.out.w.Header().Set(mcp.HeaderSession, reply.Session)
		}
		if x.write(&plain{Call: reply.Call}, manner{streamed: x.wishes.EventsFirst, patience: quietWait}) != complete {
			reply.Call.Detach()
		}
	default:
		x.relay(id, reply)
	}
}

// relay writes what comes of a call. If it is cut, the call goes on: in this era a
// disconnect is no cancellation (2025-11-25, transports).
func (x *exchange) relay(session string, reply gate.Reply) {
	how := manner{streamed: x.wishes.EventsFirst, patience: quietWait}
	f := &resumable{exchange: x, session: session, call: reply.Call, streamed: how.streamed}
	switch primed := x.prime(f, reply.Revision); {
	case primed && how.streamed:
		how.patience = 0
	case primed:
		how.patience = primeWait
	}
	defer func() { f.close(x.out.events.Begun()) }()
	if x.write(f, how) == revoked {
		f.call.Cancel("the key is no longer valid")
	}
}

// prime lets the client ask for the rest of a stream from its start on, in the
// revision that has this: clients of others may not understand an empty event.
func (x *exchange) prime(from httpio.Beginning, revision string) bool {
	if revision != mcp.Revision2025November {
		return false
	}
	x.out.events.Prime(from, resumeWait)
	return true
}

// get opens a stream: of what a server sends unasked in a session, or again one
// that was cut.
func (x *exchange) get() {
	id, refused := x.session()
	if refused == nil && !httpio.Accepts(x.r.Header, httpio.TypeEvents) {
		refused = &refusal{status: http.StatusNotAcceptable, text: "Accept must list text/event-stream"}
	}
	if refused != nil {
		x.out.refuse(*refused)
		return
	}
	revision, err := x.Gate.Revision(x.caller, x.scope, id)
	if err != nil {
		x.out.refuse(*x.refusalOf(err, nil))
		return
	}
	reader, err := x.listen(id)
	switch {
	case errors.Is(err, resume.ErrUnknown):
		x.out.refuse(refusal{status: http.StatusBadRequest, text: headerLastEvent + ": " + err.Error()})
		return
	case err != nil:
		x.out.refuse(*x.refusalOf(err, nil))
		return
	}
	defer reader.Close()
	x.prime(reader, revision)
	how := manner{lasting: reader.Over() != nil} // nil: it is a call's
	if x.write(reader, how) == revoked {
		reader.Cancel("the key is no longer valid")
	}
}

const headerLastEvent = "Last-Event-ID"

func (x *exchange) listen(id string) (*resume.Reader, error) {
	session := x.sessions.of(x.Gate, x.caller, x.scope, id)
	open := func() (*resume.Inbox, error) {
		l, err := x.Gate.Listen(x.caller, x.scope, id)
		if err != nil {
			return nil, err
		}
		return &resume.Inbox{Queue: l.Queue, Done: l.Done, Stop: l.Stop}, nil
	}
	if last := x.r.Header.Get(headerLastEvent); last != "" {
		return session.Resume(last, open)
	}
	return session.Listen(open)
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
	x.sessions.forget(id)
	x.out.w.WriteHeader(http.StatusNoContent)
}

// session is the id of the session that a GET or DELETE is for. The stateless
// era has neither of them.
func (x *exchange) session() (id string, refused *refusal) {
	revision, problem := headers.Revision(x.r.Header)
	switch {
	case problem != nil:
		return "", malformed(problem, nil)
	case mcp.Stateless(revision):
		return "", &refusal{status: http.StatusMethodNotAllowed, allow: "POST", text: "revision " + revision + " has only POST"}
	case revision != "" && !mcp.Handshake(revision):
		return "", malformed(headers.Unsupported(revision), nil)
	}
	id, problem = headers.Session(x.r.Header)
	switch {
	case problem != nil:
		return "", malformed(problem, nil)
	case id == "":
		return "", &refusal{status: http.StatusBadRequest, text: "the header " + mcp.HeaderSession + " is missing"}
	}
	return id, nil
}
