package httpfront

import (
	"net/http"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/resume"
)

// flow is where the events of one answer come from.
type flow interface {
	Ready() <-chan struct{} // gives a value when Take may have events
	Woken() <-chan struct{} // so does this
	Over() <-chan struct{}  // closed when no more will come
	// Take returns what has come, in order; more is false if that is all.
	Take() (events []resume.Event, more bool)
}

// manner is how a flow is written.
type manner struct {
	stateless bool
	streamed  bool          // a result that comes first is an event, too
	patience  time.Duration // for the first event; after it a stream begins without one. 0: at once
	lasting   bool          // it has no end of its own: it ends as soon as the gateway stops
}

// ending is why no more is written.
type ending int

const (
	complete ending = iota
	cut             // the client, or what it listened to, has gone
	revoked         // the caller may not have it any more
)

// write writes a flow to its end: as one JSON message if a response comes first,
// else as a stream of events.
func (x *exchange) write(f flow, how manner) ending {
	if how.patience == 0 {
		if x.out.events.Comment() != nil {
			return cut
		}
		how.patience = quietWait
	}
	// Renewals are due by a clock of their own: a server that keeps talking must not keep
	// a key in force.
	comment, renewal := x.came.Add(how.patience), x.came.Add(quietWait)
	due := x.timers.get(min(how.patience, quietWait))
	defer x.timers.put(due)
	var closing <-chan struct{}
	if how.lasting {
		closing = x.closing
	}
	for {
		more, err := true, error(nil)
		select {
		case <-f.Ready():
			more, err = x.pass(f, how)
		case <-f.Woken():
			more, err = x.pass(f, how)
		case now := <-due.C:
			if !now.Before(renewal) {
				if !x.stillAllowed() {
					x.out.refuse(refusal{status: http.StatusUnauthorized, text: "the key is no longer valid for this address"})
					return revoked
				}
				renewal = now.Add(quietWait)
			}
			if !now.Before(comment) {
				if x.out.events.Comment() != nil {
					return cut
				}
				comment = now.Add(quietWait)
			}
			due.Reset(time.Until(earlier(comment, renewal)))
			continue
		case <-f.Over():
			return cut
		case <-closing:
			return cut
		case <-x.r.Context().Done():
			return cut
		}
		switch {
		case err != nil:
			return cut
		case !more:
			return complete
		}
		if x.out.events.Begun() {
			comment = time.Now().Add(quietWait)
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// pass writes what has come.
func (x *exchange) pass(f flow, how manner) (more bool, err error) {
	events, more := f.Take()
	for i := range events {
		e := &events[i]
		streamed := x.out.events.Begun() || how.streamed && e.Message.Err() == nil
		if e.Message.Kind() == mcp.Response && !streamed {
			x.out.whole(status(e.Message, how.stateless), e.Message)
			return more, nil
		}
		if err := x.out.events.Write(e.ID(), "message", e.Message.Raw()); err != nil {
			return more, err
		}
	}
	return more, nil
}

// status is the HTTP status that goes with a response that is not streamed
// (2026-07-28, streamable HTTP, and basic, "Error Codes").
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

// plain is the flow of a call that can't be resumed.
type plain struct {
	link.Call
	one [1]resume.Event // most have no other
}

func (*plain) Woken() <-chan struct{} { return nil }
func (*plain) Over() <-chan struct{}  { return nil }

func (p *plain) Take() (events []resume.Event, more bool) {
	events, more = p.one[:0], true
	for _, m := range p.Call.Take() {
		events = append(events, resume.Event{Message: m})
		more = more && m.Kind() != mcp.Response
	}
	return events, more
}
