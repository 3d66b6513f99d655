package httpfront

import (
	"net/http"
	"strconv"

	"mcpgateway/proxy/httpio"
	"mcpgateway/proxy/mcp"
)

// writer writes answers: one JSON message, or a stream of events.
type writer struct {
	w         *httpio.Writer
	streaming bool
}

func newWriter(w http.ResponseWriter) *writer { return &writer{w: httpio.NewWriter(w)} }

// last writes the last message: the whole answer, or the last event of a stream.
// A client that has gone is told nothing, and nobody else needs to know.
func (o *writer) last(status int, m mcp.Message) {
	if o.streaming {
		_ = o.event(m)
		return
	}
	h := o.w.Header()
	h.Set("Content-Type", httpio.TypeJSON)
	h.Set("Content-Length", strconv.Itoa(len(m.Raw())))
	o.w.WriteHeader(status)
	_ = o.bytes(m.Raw())
}

// event writes one message as a server-sent event. It carries no id, since no
// stream can be resumed.
func (o *writer) event(m mcp.Message) error {
	o.stream()
	if err := o.bytes([]byte("event: message\ndata: ")); err != nil {
		return err
	}
	if err := o.bytes(m.Raw()); err != nil {
		return err
	}
	if err := o.bytes([]byte("\n\n")); err != nil {
		return err
	}
	return o.w.Flush()
}

// comment keeps a stream alive, or begins it.
func (o *writer) comment() error {
	o.stream()
	if err := o.bytes([]byte(":\n\n")); err != nil {
		return err
	}
	return o.w.Flush()
}

// stream begins a stream unless one has begun.
func (o *writer) stream() {
	if o.streaming {
		return
	}
	o.streaming = true
	h := o.w.Header()
	h.Set("Content-Type", httpio.TypeEvents)
	h.Set("X-Accel-Buffering", "no") // or else nginx holds events back
	o.w.WriteHeader(http.StatusOK)
}

func (o *writer) bytes(data []byte) error {
	_, err := o.w.Write(data)
	return err
}

// accepted answers a message that has no answer of its own.
func (o *writer) accepted() { o.empty(http.StatusAccepted) }

func (o *writer) empty(status int) {
	o.w.WriteHeader(status)
}
