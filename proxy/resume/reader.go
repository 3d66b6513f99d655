package resume

import (
	"slices"

	"mcpgateway/proxy/mcp"
)

// Reader is one connection's hold of a stream. Its methods are for one goroutine.
type Reader struct {
	session *Session
	stream  *stream
	source  <-chan struct{}
	woken   chan struct{} // holds a token if Take shall be called
	over    <-chan struct{}
	start   int  // number of the event before its first
	sent    int  // of the last event that Take gave
	ended   bool // another has the stream
}

func (s *Session) readLocked(of *stream, sent int) *Reader {
	if of.reader != nil {
		of.reader.endLocked()
	}
	r := &Reader{session: s, stream: of, woken: make(chan struct{}, 1), start: sent, sent: sent}
	if of.call != nil {
		r.source = of.call.Ready()
	}
	of.reader = r
	return r
}

// listenLocked makes a reader the one that gets what comes in.
func (s *Session) listenLocked(of *stream, sent int) *Reader {
	r := s.readLocked(of, sent)
	r.source, r.over = s.inbox.Ready(), s.inbox.Done
	r.wake() // who listened before may have been told of what is there
	s.listeners = append(s.listeners, r)
	if len(s.listeners) > maxListeners {
		s.listeners[0].endLocked()
	}
	return r
}

// endLocked takes the stream from its reader.
func (r *Reader) endLocked() {
	r.ended = true
	if r.stream.reader == r {
		r.stream.reader = nil
	}
	r.session.listeners = slices.DeleteFunc(r.session.listeners, func(l *Reader) bool { return l == r })
	r.wake()
}

func (r *Reader) wake() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

// Start is the id of the position before the reader's first event.
func (r *Reader) Start() string {
	return position{r.stream.call != nil, r.stream.number, r.start}.String()
}

// Ready gives a value when Take may have events.
func (r *Reader) Ready() <-chan struct{} { return r.source }

// Woken does, too.
func (r *Reader) Woken() <-chan struct{} { return r.woken }

// Over is closed when the session of a listener is; it is nil for a call.
func (r *Reader) Over() <-chan struct{} { return r.over }

// Take returns the events that the reader has not had, in order. more is false if
// none will come: the stream is finished, or another reader has it.
func (r *Reader) Take() (events []Event, more bool) {
	s := r.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.ended {
		return nil, false
	}
	s.pullLocked(r)
	for _, e := range r.stream.events {
		if e.at.event > r.sent {
			events = append(events, e)
			r.sent = e.at.event
		}
	}
	s.trimLocked(r.stream)
	return events, !r.stream.finished
}

// pullLocked takes what has come for a reader's stream.
func (s *Session) pullLocked(r *Reader) {
	switch {
	case r.stream.finished:
	case r.stream.call != nil:
		r.stream.add(s, r.stream.call.Take())
	case s.listeners[len(s.listeners)-1] == r:
		r.stream.add(s, s.inbox.Take())
	default: // it may have taken the newest one's turn
		s.listeners[len(s.listeners)-1].wake()
	}
}

func (t *stream) add(s *Session, messages []mcp.Message) {
	for _, m := range messages {
		t.last++
		t.events = append(t.events, Event{m, position{t.call != nil, t.number, t.last}})
		t.bytes += len(m.Raw())
		s.bytes += len(m.Raw())
		t.finished = t.call != nil && m.Kind() == mcp.Response
	}
}

// trimLocked forgets the oldest events, but of each stream the newest; then whole
// streams that nobody reads.
func (s *Session) trimLocked(grown *stream) {
	for len(grown.events) > 1 && (len(grown.events) > maxEvents || grown.bytes > maxBytes) {
		grown.drop(s)
	}
	for _, t := range s.streams {
		for s.bytes > maxAllBytes && len(t.events) > 0 && (t != grown || len(t.events) > 1) {
			t.drop(s)
		}
	}
}

func (t *stream) drop(s *Session) {
	n := len(t.events[0].Message.Raw())
	t.bytes -= n
	s.bytes -= n
	t.events[0] = Event{} // its message goes with it
	t.events = t.events[1:]
}

// Close lets go of the stream, which may be resumed.
func (r *Reader) Close() {
	s := r.session
	s.mu.Lock()
	defer s.mu.Unlock()
	r.endLocked()
	s.settleLocked()
	if of := r.stream; of.reader == nil && of.call != nil && !of.finished {
		of.call.Leave()
	}
	unread := 0
	for _, t := range slices.Backward(slices.Clone(s.streams)) {
		if t.reader != nil {
			continue
		}
		if unread++; unread > maxUnread {
			s.forgetLocked(t)
		}
	}
}

// Forget lets go of a stream that nobody can resume: no event of it was sent.
func (r *Reader) Forget() {
	s := r.session
	s.mu.Lock()
	defer s.mu.Unlock()
	r.endLocked()
	s.forgetLocked(r.stream)
}

// settleLocked gives the inbox to the newest listener that is left, or back.
func (s *Session) settleLocked() {
	switch n := len(s.listeners); {
	case n > 0:
		s.listeners[n-1].wake()
	case s.inbox != nil:
		s.inbox.Stop()
		s.inbox = nil
	}
}

func (s *Session) forgetLocked(t *stream) {
	if t.call != nil && !t.finished {
		t.call.Detach()
	}
	s.bytes -= t.bytes
	s.streams = slices.DeleteFunc(s.streams, func(u *stream) bool { return u == t })
}

// Cancel cancels the call whose stream it is.
func (r *Reader) Cancel(reason string) {
	if r.stream.call != nil {
		r.stream.call.Cancel(reason)
	}
}
