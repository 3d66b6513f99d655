package http1

import (
	"errors"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// response is the answer to the request under way. What is written waits until there is
// much of it, Flush, or the end of the handler.
type response struct {
	conn   *conn
	header http.Header
	status int // 0: it has not begun

	out     []byte // to be sent: the head and what comes behind it; nil if there is nothing
	held    []byte // of a body whose length is not known yet
	headed  bool   // the head is in out, or sent
	chunked bool
	last    bool  // the connection ends behind it
	length  int64 // as the handler has told it; -1: it has not
	written int64
	writeBy time.Time
	err     error
}

// Header is that of the answer. It may be changed until the answer begins.
func (w *response) Header() http.Header { return w.header }

// WriteHeader begins the answer. Statuses below 200 are not for it.
func (w *response) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	w.status, w.length = status, -1
	if told := w.header["Content-Length"]; len(told) == 1 {
		if n, err := strconv.ParseInt(told[0], 10, 64); err == nil && n >= 0 {
			w.length = n
		}
	}
	delete(w.header, "Content-Length") // head writes it
	if told := w.header["Connection"]; len(told) > 0 {
		w.last = w.last || told[0] == "close"
		delete(w.header, "Connection")
	}
}

// hasBody is whether an answer with the status has one (RFC 9110, section 6.4.1).
func (w *response) hasBody() bool {
	return w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

// Write writes a part of the body.
func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	switch {
	case !w.hasBody():
		return 0, http.ErrBodyNotAllowed
	case w.length >= 0 && w.written+int64(len(p)) > w.length:
		return 0, http.ErrContentLength
	}
	w.written += int64(len(p))
	if !w.headed && w.length < 0 {
		if len(w.held)+len(p) <= bufferSize {
			w.held = append(w.held, p...)
			return len(p), w.err
		}
		w.stream()
	}
	w.head()
	w.put(p)
	return len(p), w.err
}

// Flush sends what was written.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError sends what was written.
func (w *response) FlushError() error {
	w.WriteHeader(http.StatusOK)
	if !w.headed {
		w.stream()
	}
	w.send()
	w.release()
	return w.err
}

// finish ends the answer.
func (w *response) finish() {
	w.WriteHeader(http.StatusOK)
	switch {
	case w.chunked:
		w.out = append(w.pending(), "0\r\n\r\n"...)
	case w.length >= 0 && w.written < w.length && w.hasBody():
		w.last, w.err = true, errShort
	case !w.headed:
		w.length = int64(len(w.held))
		w.head()
		w.put(w.held)
		w.held = nil
	}
	w.send()
}

var errShort = errors.New("the handler wrote less than it had told")

// stream begins the answer with what is there of it.
func (w *response) stream() {
	w.chunked = w.length < 0 && w.hasBody()
	w.head()
	if len(w.held) > 0 {
		w.put(w.held)
		w.held = nil
	}
}

// head writes the status line and the headers, once.
func (w *response) head() {
	if w.headed {
		return
	}
	w.headed = true
	w.last = w.last || w.conn.body.left > 0 || w.conn.server.closing()
	out := append(w.pending(), "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(w.status), 10)
	out = append(append(append(out, ' '), http.StatusText(w.status)...), "\r\n"...)
	for name, values := range w.header {
		if !plain(name, &inName) {
			continue
		}
		for _, value := range values {
			out = append(append(out, name...), ": "...)
			out = append(appendValue(out, value), "\r\n"...)
		}
	}
	out = append(append(append(out, "Date: "...), date()...), "\r\n"...)
	switch {
	case w.chunked:
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	case w.hasBody():
		out = append(strconv.AppendInt(append(out, "Content-Length: "...), w.length, 10), "\r\n"...)
	}
	if w.last {
		out = append(out, "Connection: close\r\n"...)
	}
	w.out = append(out, "\r\n"...)
}

// appendValue keeps a value from being more than one.
func appendValue(out []byte, value string) []byte {
	if plain(value, &inValue) {
		return append(out, value...)
	}
	for i := range len(value) {
		if inValue[value[i]] {
			out = append(out, value[i])
		} else {
			out = append(out, ' ')
		}
	}
	return out
}

// put writes a part of the body behind the head.
func (w *response) put(p []byte) {
	if len(p) == 0 {
		return
	}
	w.out = w.pending()
	if w.chunked {
		w.out = append(strconv.AppendInt(w.out, int64(len(p)), 16), "\r\n"...)
	}
	if len(w.out)+len(p) <= bufferSize {
		w.out = append(w.out, p...)
	} else { // not worth a copy
		w.send()
		w.write(p)
	}
	if w.chunked {
		w.out = append(w.out, "\r\n"...)
	}
}

// pending is what is to be sent, with room for more.
func (w *response) pending() []byte {
	if w.out == nil {
		return buffers.Get().(*[bufferSize]byte)[:0]
	}
	return w.out
}

// release gives back what the answer was made in, unless it has grown: an answer that goes
// on for long holds nothing in between.
func (w *response) release() {
	if cap(w.out) == bufferSize {
		buffers.Put((*[bufferSize]byte)(w.out[:bufferSize]))
	}
	w.out = nil
}

func (w *response) send() {
	w.write(w.out)
	w.out = w.out[:0]
}

func (w *response) write(p []byte) {
	if w.err == nil && len(p) > 0 {
		w.err = w.conn.write(p, w.writeBy)
	}
}

// SetWriteDeadline is for what is written from now on; the zero time is none.
func (w *response) SetWriteDeadline(t time.Time) error {
	w.writeBy = t
	return nil
}

// SetReadDeadline is for what is read of the request's body from now on; the zero time
// is none.
func (w *response) SetReadDeadline(t time.Time) error {
	w.conn.bodyBy = t
	return nil
}

// today is the date of answers, which changes every second.
var today atomic.Pointer[stamp]

type stamp struct {
	second int64
	text   string
}

func date() string {
	now := time.Now()
	if s := today.Load(); s != nil && s.second == now.Unix() {
		return s.text
	}
	s := &stamp{now.Unix(), now.UTC().Format(http.TimeFormat)}
	today.Store(s)
	return s.text
}
