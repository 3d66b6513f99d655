package httpfront

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"mcpgateway/proxy/httpio"
	"mcpgateway/proxy/mcp"
)

// typed refuses a POST that does not say what its body is, or does not take what
// its answer may be.
func (x *exchange) typed() *refusal {
	if !httpio.IsJSON(x.r.Header) {
		return &refusal{status: http.StatusUnsupportedMediaType, text: "Content-Type is not application/json"}
	}
	if x.wishes = httpio.WishesOf(x.r.Header); x.at.endpoint == mcpPoint && (!x.wishes.JSON || !x.wishes.Events) {
		return &refusal{status: http.StatusNotAcceptable, text: "Accept must list application/json and text/event-stream"}
	}
	return nil
}

// firstRead is how much of an announced body is made room for before it comes.
const firstRead = 64 << 10

// body reads the request's body within the limits of size, time and what its
// caller may hold; release gives it back.
func (x *exchange) body() ([]byte, *refusal) {
	limit := x.Policy.Limits.MaxBodyBytes
	if x.r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	size := x.r.ContentLength
	if size < 0 {
		size = limit
	}
	if !x.budget.hold(size, max(bodiesPerCaller, limit)) {
		return nil, &refusal{status: http.StatusServiceUnavailable, text: "too many large requests of this caller are under way", retryAfter: soon}
	}
	x.held = size
	body, err := x.read()
	if err != nil {
		return nil, unreadable(err, limit)
	}
	x.out.w.LimitBody(time.Time{}) // set by ServeHTTP
	return body, nil
}

func unreadable(err error, limit int64) *refusal {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(limit)
	}
	return &refusal{status: http.StatusBadRequest, code: mcp.CodeParse, text: "the body could not be read to its end: " + cause(err)}
}

// read reads the body to its end. A length that is only announced does not cost memory.
func (x *exchange) read() ([]byte, error) {
	if n := x.r.ContentLength; n >= 0 && n <= firstRead {
		body := make([]byte, n+1)
		read, err := io.ReadFull(x.r.Body, body)
		if int64(read) == n && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
			return body[:n:n], nil
		}
		return nil, err
	}
	var body bytes.Buffer
	body.Grow(firstRead + bytes.MinRead)
	_, err := body.ReadFrom(http.MaxBytesReader(x.out.w.ResponseWriter, x.r.Body, x.Policy.Limits.MaxBodyBytes))
	return body.Bytes(), err
}

func tooLarge(limit int64) *refusal {
	return &refusal{status: http.StatusRequestEntityTooLarge, text: fmt.Sprintf("the body is larger than %d bytes, the limit", limit)}
}

// release gives back what the request took of its caller's budget.
func (x *exchange) release() {
	if x.budget != nil {
		x.budget.give(1, x.held)
	}
}

// cause is what a client may know of an error of its own connection.
func cause(err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "it is shorter than announced"
	}
	return "time-out or connection lost"
}
