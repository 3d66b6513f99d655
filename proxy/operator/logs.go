package operator

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"mcpgateway/proxy/report"
)

// defaultTail is how many lines are sent to who does not say.
const defaultTail = 100

// writeWait is how long who follows may leave lines unread, and followWait how long may
// be followed at all.
const (
	writeWait  = 10 * time.Second
	followWait = 24 * time.Hour
)

// logs answers GET /servers/NAME/logs?tail=N&follow=1 with a report.Line on each line.
func (o *Operator) logs(w http.ResponseWriter, r *http.Request) {
	name, err := o.known(r)
	tail, follow := defaultTail, r.URL.Query().Get("follow") == "1"
	if asked := r.URL.Query().Get("tail"); err == nil && asked != "" {
		if tail, err = strconv.Atoi(asked); err != nil || tail < 0 {
			err = invalid("tail %.20q is no number of lines", asked)
		}
	}
	if err != nil {
		o.send(w, nil, err)
		return
	}
	if !follow {
		o.extend(w, writeWait)
		w.Header().Set("Content-Type", "application/x-ndjson")
		sendLines(w, o.source.Lines(name, tail))
		return
	}
	o.follow(w, r, name, tail)
}

// follow sends lines until the client goes, reads too slowly, or there can be no more.
func (o *Operator) follow(w http.ResponseWriter, r *http.Request, server string, tail int) {
	reader, err := o.source.Follow(server, tail)
	if err != nil {
		o.send(w, nil, &failure{http.StatusServiceUnavailable, err})
		return
	}
	defer reader.Close()
	ctx, cancel := context.WithTimeout(r.Context(), followWait)
	defer cancel()
	o.extend(w, followWait)
	w.Header().Set("Content-Type", "application/x-ndjson")
	control := http.NewResponseController(w)
	if control.Flush() != nil { // the client knows that it follows
		return
	}
	for {
		lines, err := reader.Next(ctx)
		if err != nil || control.SetWriteDeadline(time.Now().Add(writeWait)) != nil ||
			!sendLines(w, lines) || control.Flush() != nil {
			return
		}
	}
}

// sendLines reports whether the client took them.
func sendLines(w http.ResponseWriter, lines []report.Line) bool {
	encoder := json.NewEncoder(w)
	for _, line := range lines {
		if encoder.Encode(line) != nil {
			return false
		}
	}
	return true
}
