package httpfront

import (
	"errors"
	"net/http"
	"sync"

	"mcpgateway/proxy/gate"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/resume"
)

// maxBatch is how many messages a batch may have.
const maxBatch = 64

// batch serves several messages at a time, which only a session of the revision
// 2025-03-26 may send. Their answers come as one stream, which can't be resumed.
func (x *exchange) batch(body []byte) {
	id, refused := x.batchSession()
	var messages []mcp.Message
	if refused == nil {
		messages, refused = parseBatch(body)
	}
	var calls []link.Call
	if refused == nil {
		calls, refused = x.begin(id, messages)
	}
	switch {
	case refused != nil:
		x.out.refuse(*refused)
	case len(calls) == 0:
		x.out.w.WriteHeader(http.StatusAccepted)
	default:
		x.writeAll(calls)
	}
}

// batchSession is the session that a batch is for.
func (x *exchange) batchSession() (id string, refused *refusal) {
	id, refused = x.session()
	if refused != nil {
		if refused.allow != "" {
			refused = &refusal{status: http.StatusBadRequest, text: "this revision has no batches: send one message at a time"}
		}
		return "", refused
	}
	revision, err := x.Gate.Revision(x.caller, x.scope, id)
	switch {
	case err != nil:
		return "", x.refusalOf(err, nil)
	case revision != mcp.Revision2025March:
		return "", &refusal{status: http.StatusBadRequest, text: "batches are of revision " + mcp.Revision2025March + " only: send one message at a time"}
	}
	return id, nil
}

// parseBatch reads requests and notifications, or responses, but not both
// (2025-03-26, transports).
func parseBatch(body []byte) ([]mcp.Message, *refusal) {
	messages, err := mcp.ParseBatch(body, maxBatch)
	if invalid, ok := errors.AsType[*mcp.InvalidError](err); ok {
		return nil, &refusal{status: http.StatusBadRequest, code: invalid.Code, text: invalid.Reason}
	}
	for _, m := range messages {
		switch {
		case m.Method() == mcp.MethodInitialize:
			return nil, &refusal{status: http.StatusBadRequest, text: "initialize is no part of a batch"}
		case (m.Kind() == mcp.Response) != (messages[0].Kind() == mcp.Response):
			return nil, &refusal{status: http.StatusBadRequest, text: "a batch has requests and notifications, or responses, but not both"}
		}
	}
	return messages, nil
}

// begin passes all messages on. What refuses one of them by a status of HTTP
// refuses all.
func (x *exchange) begin(id string, messages []mcp.Message) (calls []link.Call, refused *refusal) {
	for _, m := range messages {
		reply, err := x.Gate.Do(x.r.Context(), gate.Request{Origin: x.origin, Caller: x.caller, Scope: x.scope, Session: id, Message: m})
		if err != nil {
			refused := x.refusalOf(err, idOf(m))
			if refused.status != http.StatusOK {
				detach(calls)
				refused.id = nil
				return nil, refused
			}
			reply.Call = link.Answered(mcp.NewError(refused.id, refused.code, refused.text, refused.data))
		}
		if reply.Call != nil {
			calls = append(calls, reply.Call)
		}
	}
	return calls, nil
}

// writeAll writes the messages of all calls as they come.
func (x *exchange) writeAll(calls []link.Call) {
	together := &merged{calls: calls, ready: make(chan struct{}, 1), left: len(calls)}
	var watching sync.WaitGroup
	defer watching.Wait()
	done := make(chan struct{})
	defer close(done)
	for _, call := range calls {
		watching.Go(func() { together.watch(call, done) })
	}
	if x.write(together, manner{}) != complete {
		detach(calls)
	}
}

func detach(calls []link.Call) {
	for _, call := range calls {
		call.Detach()
	}
}

// merged is the flow of several calls.
type merged struct {
	calls []link.Call
	ready chan struct{} // holds a token if one of them may have messages
	left  int           // that are not answered
}

func (m *merged) watch(call link.Call, done <-chan struct{}) {
	for {
		select {
		case <-call.Ready():
		case <-done:
			return
		}
		select {
		case m.ready <- struct{}{}:
		default:
		}
	}
}

func (m *merged) Ready() <-chan struct{} { return m.ready }
func (m *merged) Woken() <-chan struct{} { return nil }
func (m *merged) Over() <-chan struct{}  { return nil }

func (m *merged) Take() (events []resume.Event, more bool) {
	for _, call := range m.calls {
		for _, message := range call.Take() {
			events = append(events, resume.Event{Message: message})
			if message.Kind() == mcp.Response {
				m.left--
			}
		}
	}
	return events, m.left > 0
}
