package httpio

import (
	"net/http"
	"time"
)

// WriteWait is how long a client may take for the next 64 KiB of an answer.
const WriteWait = 30 * time.Second

// chunk is how much a client must take within WriteWait.
const chunk = 64 << 10

// Writer writes an answer. A client that stops reading ends it after WriteWait;
// one that reads slowly holds it for as long as 64 KiB at a time take.
type Writer struct {
	http.ResponseWriter
	control http.ResponseController
	begun   bool
}

// NewWriter returns the writer of one answer.
func NewWriter(w http.ResponseWriter) *Writer {
	return &Writer{ResponseWriter: w, control: *http.NewResponseController(w)}
}

// Unwrap is for http.ResponseController.
func (w *Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Begun reports whether the status line is out.
func (w *Writer) Begun() bool { return w.begun }

// Extend gives the client until then to take what is written. Errors mean that the
// connection is gone; the next write says so too.
func (w *Writer) Extend(until time.Time) { _ = w.control.SetWriteDeadline(until) }

// LimitBody gives the client until then to send its body; the zero time, for ever.
// Errors show in the next read.
func (w *Writer) LimitBody(until time.Time) { _ = w.control.SetReadDeadline(until) }

// Whole writes an answer that is there.
func (w *Writer) Whole(status int, body []byte) error {
	w.begun = true
	w.ResponseWriter.WriteHeader(status)
	_, err := w.Write(body)
	return err
}

// WriteHeader begins the answer.
func (w *Writer) WriteHeader(status int) {
	w.begun = true
	w.Extend(time.Now().Add(WriteWait)) // what came before may have taken long
	w.ResponseWriter.WriteHeader(status)
}

// Write writes a part of the answer. What is written may wait until Flush.
func (w *Writer) Write(data []byte) (written int, err error) {
	w.begun = true
	for len(data) > 0 {
		w.Extend(time.Now().Add(WriteWait))
		n, err := w.ResponseWriter.Write(data[:min(len(data), chunk)])
		written += n
		if err != nil {
			return written, err
		}
		data = data[n:]
	}
	return written, nil
}

// Flush sends what was written.
func (w *Writer) Flush() error { return w.control.Flush() }
