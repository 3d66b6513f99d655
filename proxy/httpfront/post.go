package httpfront

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/httpio"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// post serves one message of a client.
func (x *exchange) post() {
	held := x.bodySize()
	if !x.bodies.take(x.caller.Subject, held, max(bodiesPerCaller, x.Policy.Limits.MaxBodyBytes)) {
		x.out.refuse(refusal{status: http.StatusServiceUnavailable, text: "too many large requests of this caller are under way", retryAfter: true})
		return
	}
	defer x.bodies.give(x.caller.Subject, held)
	message, refused := x.message()
	if refused != nil {
		x.out.refuse(*refused)
		return
	}
	stateless, refused := era(x.r.Header, message)
	session, once := single(x.r.Header, mcp.HeaderSession)
	if refused == nil && !once {
		refused = mismatch("the header %s was sent more than once", mcp.HeaderSession)
	}
	if refused != nil {
		refused.id = idOf(message)
		x.out.refuse(*refused)
		return
	}
	request := gate.Request{Caller: x.caller, Scope: x.scope, Stateless: stateless, Message: message}
	if !stateless {
		request.Session = session
	}
	reply, err := x.Gate.Do(x.r.Context(), request)
	if err != nil {
		x.out.refuse(*x.refusalOf(err, idOf(message)))
		return
	}
	x.answer(reply, stateless)
}

// idOf is the id that an error must carry: that of a request.
func idOf(m mcp.Message) []byte {
	if m.Kind() != mcp.Request {
		return nil
	}
	return m.ID()
}

// message reads and parses the body.
func (x *exchange) message() (mcp.Message, *refusal) {
	switch {
	case !httpio.IsJSON(x.r.Header):
		return mcp.Message{}, &refusal{status: http.StatusUnsupportedMediaType, text: "Content-Type is not application/json"}
	case !httpio.Accepts(x.r.Header, httpio.TypeJSON) || !httpio.Accepts(x.r.Header, httpio.TypeEvents):
		return mcp.Message{}, &refusal{status: http.StatusNotAcceptable, text: "Accept must list application/json and text/event-stream"}
	}
	body, refused := x.body()
	if refused != nil {
		return mcp.Message{}, refused
	}
	message, err := mcp.Parse(body)
	var invalid *mcp.InvalidError
	if errors.As(err, &invalid) {
		return mcp.Message{}, &refusal{status: http.StatusBadRequest, code: invalid.Code, id: invalid.ID, text: invalid.Reason}
	}
	return message, nil
}

// bodySize is the most that the body can take of memory.
func (x *exchange) bodySize() int64 {
	if limit := x.Policy.Limits.MaxBodyBytes; x.r.ContentLength < 0 || x.r.ContentLength > limit {
		return limit
	}
	return x.r.ContentLength
}

// firstRead is how much of an announced body is made room for before it comes.
const firstRead = 64 << 10

// body reads the request's body within the limits of size and time.
func (x *exchange) body() ([]byte, *refusal) {
	limit := x.Policy.Limits.MaxBodyBytes
	tooLarge := &refusal{status: http.StatusRequestEntityTooLarge, text: fmt.Sprintf("the body is larger than %d bytes, the limit", limit)}
	if x.r.ContentLength > limit {
		return nil, tooLarge
	}
	var body bytes.Buffer
	// A length that is only announced must not cost memory.
	body.Grow(int(min(max(x.r.ContentLength, 0), firstRead)) + bytes.MinRead)
	_, err := body.ReadFrom(http.MaxBytesReader(x.out.w.ResponseWriter, x.r.Body, limit))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, tooLarge
	case err != nil:
		return nil, &refusal{status: http.StatusBadRequest, code: mcp.CodeParse, text: "the body could not be read to its end: " + cause(err)}
	}
	x.out.w.LimitBody(time.Time{}) // set by ServeHTTP
	return body.Bytes(), nil
}

// cause is what a client may know of an error of its own connection.
func cause(err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "it is shorter than announced"
	}
	return "time-out or connection lost"
}

// answer writes what became of a message.
func (x *exchange) answer(reply gate.Reply, stateless bool) {
	if reply.Session != "" {
		x.out.w.Header().Set(mcp.HeaderSession, reply.Session)
	}
	if reply.Call == nil {
		x.out.accepted()
		return
	}
	x.stream(reply.Call, stateless)
}

// stream writes the messages of a call and its response: as one JSON message if
// that comes first and soon, else as a stream of events.
func (x *exchange) stream(s link.Call, stateless bool) {
	quiet := time.NewTimer(quietWait)
	defer quiet.Stop()
	for {
		var err error
		select {
		case <-s.Ready():
			var finished bool
			if finished, err = x.relay(s.Take(), stateless); finished {
				return
			}
		case <-quiet.C:
			if !x.stillAllowed() {
				leave(s, true)
				return
			}
			err = x.out.comment()
		case <-x.r.Context().Done():
			err = x.r.Context().Err()
		}
		if err != nil {
			leave(s, stateless)
			return
		}
		quiet.Reset(quietWait)
	}
}

// relay writes messages of a call; finished says that the response was one.
func (x *exchange) relay(messages []mcp.Message, stateless bool) (finished bool, err error) {
	for _, m := range messages {
		if m.Kind() == mcp.Response {
			x.out.last(status(m, stateless), m)
			return true, nil
		}
		if err := x.out.event(m); err != nil {
			return false, err
		}
	}
	return false, nil
}

// leave is what the end of the client's connection means: the end of the call in
// the stateless era (2026-07-28, streamable HTTP, "Cancellation"), and nothing in
// the handshake era (2025-11-25, transports).
func leave(s link.Call, stateless bool) {
	if stateless {
		s.Cancel("the client has disconnected")
		return
	}
	s.Detach()
}

// status is the HTTP status that goes with a response that is not streamed.
func status(m mcp.Message, stateless bool) int {
	if !stateless || m.Err() == nil {
		return http.StatusOK
	}
	switch string(m.At(m.InError("code"))) {
	case "-32601":
		return http.StatusNotFound
	case "-32020", "-32021", "-32022":
		return http.StatusBadRequest
	}
	return http.StatusOK
}
