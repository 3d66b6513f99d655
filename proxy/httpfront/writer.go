package httpfront

import (
	"net/http"
	"strconv"

	"mcpgateway/proxy/httpio"
	"mcpgateway/proxy/mcp"
)

// writer writes answers: one JSON message, or a stream of events.
type writer struct {
	w      *httpio.Writer
	events httpio.Events
}

func newWriter(w http.ResponseWriter) writer {
	out := httpio.NewWriter(w)
	return writer{out, *httpio.NewEvents(out)}
}

// whole writes the one message of an answer. A client that has gone is told
// nothing, and nobody else needs to know.
func (o *writer) whole(status int, m mcp.Message) {
	h := o.w.Header()
	h["Content-Type"] = httpio.JSON
	h["Content-Length"] = []string{strconv.Itoa(len(m.Raw()))}
	_ = o.w.Whole(status, m.Raw())
}
