package httpfront

import (
	"net/http"
	"strconv"
	"time"

	"mcpgateway/proxy/mcp"
)

// chunk is how much a client must take within writeWait.
const chunk = 64 << 10

// writer writes answers: one JSON message, or a stream of events. A client that
// stops reading ends its answer after writeWait; one that reads slowly holds it for
// as long as 64 KiB at a time take.
type writer struct {
	w         http.ResponseWriter
	control   *http.ResponseController
	begun     bool // the status line is out
	streaming bool
}

func newWriter(w http.ResponseWriter) *writer {
	return &writer{w: w, control: http.NewResponseController(w)}
}

// extend gives the client so much more time to take what is written. Errors mean
// that the connection is gone; the next write says so too.
func (o *writer) extend(d time.Duration) { _ = o.control.SetWriteDeadline(time.Now().Add(d)) }

// limitBody gives the client until then to send its body; the zero time, for ever.
// Errors show in the next read.
func (o *writer) limitBody(until time.Time) { _ = o.control.SetReadDeadline(until) }

// last writes the last message: the whole answer, or the last event of a stream.
// A client that has gone is told nothing, and nobody else needs to know.
func (o *writer) last(status int, m mcp.Message) {
	if o.streaming {
		_ = o.event(m)
		return
	}
	h := o.w.Header()
	h.Set("Content-Type", typeJSON)
	h.Set("Content-Length", strconv.Itoa(len(m.Raw())))
	o.begun = true
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
	return o.control.Flush()
}

// comment keeps a stream alive, or begins it.
func (o *writer) comment() error {
	o.stream()
	if err := o.bytes([]byte(":\n\n")); err != nil {
		return err
	}
	return o.control.Flush()
}

// stream begins a stream unless one has begun.
func (o *writer) stream() {
	if o.streaming {
		return
	}
	o.begun, o.streaming = true, true
	h := o.w.Header()
	h.Set("Content-Type", typeEvents)
	h.Set("X-Accel-Buffering", "no") // or else nginx holds events back
	o.w.WriteHeader(http.StatusOK)
}

func (o *writer) bytes(data []byte) error {
	for len(data) > 0 {
		n := min(len(data), chunk)
		o.extend(writeWait)
		if _, err := o.w.Write(data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// accepted answers a message that has no answer of its own.
func (o *writer) accepted() { o.empty(http.StatusAccepted) }

func (o *writer) empty(status int) {
	o.begun = true
	o.extend(writeWait) // what came before may have taken long
	o.w.WriteHeader(status)
}
