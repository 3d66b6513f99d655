package httpio

import (
	"net/http"
	"strconv"
	"time"
)

// Events writes an answer as a stream of server-sent events. It begins with the
// first of them.
type Events struct {
	out   *Writer
	begun bool
	from  Beginning // nil: it has none
	wait  time.Duration
}

// Beginning is where a stream begins.
type Beginning interface {
	Start() string // the id of what comes before its first event
}

// NewEvents returns the stream of an answer.
func NewEvents(out *Writer) *Events { return &Events{out: out} }

// Begun reports whether the answer is a stream already.
func (e *Events) Begun() bool { return e.begun }

// Prime makes the stream begin with an event that has an id and no data. The
// client can ask for the rest of the stream from there, after a wait.
func (e *Events) Prime(from Beginning, wait time.Duration) { e.from, e.wait = from, wait }

func (e *Events) opening() string {
	if e.from == nil {
		return ""
	}
	return "id: " + e.from.Start() + "\nretry: " + strconv.FormatInt(e.wait.Milliseconds(), 10) + "\ndata:\n\n"
}

// Write writes an event; id may be "". Neither data nor the names may have line
// breaks.
func (e *Events) Write(id, name string, data []byte) error {
	head := "event: " + name + "\ndata: "
	if id != "" {
		head = "id: " + id + "\n" + head
	}
	if err := e.begin(head); err != nil {
		return err
	}
	if _, err := e.out.Write(data); err != nil {
		return err
	}
	if _, err := e.out.Write([]byte("\n\n")); err != nil {
		return err
	}
	return e.out.Flush()
}

// Comment keeps the stream alive, or begins it.
func (e *Events) Comment() error {
	if err := e.begin(":\n\n"); err != nil {
		return err
	}
	return e.out.Flush()
}

// begin writes text, behind what the stream begins with if it has not begun.
func (e *Events) begin(text string) error {
	if !e.begun {
		e.begun = true
		h := e.out.Header()
		h.Set("Content-Type", TypeEvents)
		h.Set("X-Accel-Buffering", "no") // or else nginx holds events back
		e.out.WriteHeader(http.StatusOK)
		text = e.opening() + text
	}
	_, err := e.out.Write([]byte(text))
	return err
}
