// Package resume lets a client whose connection was cut have the rest of a stream
// of events (2025-11-25, transports, "Resumability and Redelivery"). It remembers,
// within bounds, what the streams of a session carried. Nothing is taken from a
// server before somebody reads: what waits, waits in the bounded queue that it
// came in. It knows no HTTP.
//
// Runs in: proxy.
package resume

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// Bounds of what is remembered, beside the one event that is over them.
const (
	maxEvents    = 256     // of one stream
	maxBytes     = 1 << 20 // of one stream
	maxAllBytes  = 4 << 20 // of a session
	maxUnread    = 16      // streams of a session that nobody reads
	maxListeners = 8       // of a session at a time
)

// ErrUnknown is the error for an event that is of no stream of the session, or of
// one that is forgotten.
var ErrUnknown = errors.New("the event is of no stream of this session, or of one that is forgotten")

// Inbox is where what relates to no call comes in.
type Inbox struct {
	*link.Queue
	Done <-chan struct{} // closed when the session is over
	Stop func()          // must be called
}

// Session remembers the streams of one session. Events are told apart within it:
// a stream is found by its number among those of its session, so that an event id
// is worth nothing without the session.
type Session struct {
	mu        sync.Mutex
	last      int       // number of the last stream
	streams   []*stream // oldest first
	bytes     int       // remembered by all of them
	inbox     *Inbox    // while anybody listens
	listeners []*Reader // the newest is last, and gets what comes in
}

// stream is what is remembered of one stream of events.
type stream struct {
	number   int
	call     link.Call // nil: what relates to no call
	events   []Event   // oldest first
	bytes    int
	last     int // number of the last event
	finished bool
	reader   *Reader // nil if nobody reads
}

// Event is one message on a stream.
type Event struct {
	Message mcp.Message
	at      position
}

// ID is by what a client asks for what comes behind the event; "" if it can't.
func (e *Event) ID() string {
	if e.at == (position{}) {
		return ""
	}
	return e.at.String()
}

// Listen opens a stream of what relates to no call. open gives the session's inbox
// if nobody has it; its errors are returned.
func (s *Session) Listen(open func() (*Inbox, error)) (*Reader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.openLocked(open); err != nil {
		return nil, err
	}
	return s.listenLocked(s.addLocked(nil), 0), nil
}

// Call opens the stream of a call, which begins with what was taken from it.
func (s *Session) Call(call link.Call, taken ...mcp.Message) *Reader {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.addLocked(call)
	of.add(s, taken)
	return s.readLocked(of, 0)
}

// Resume opens a stream again, behind the event of an id. If another reader has
// it, that one's connection is as good as dead.
func (s *Session) Resume(id string, open func() (*Inbox, error)) (*Reader, error) {
	at, err := parse(id)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.findLocked(at)
	if found == nil && (at.call || at.stream > s.last) || found != nil && at.event > found.last {
		return nil, ErrUnknown
	}
	if at.call {
		r := s.readLocked(found, at.event)
		r.wake() // there may be events to send again
		return r, nil
	}
	if err := s.openLocked(open); err != nil {
		return nil, err
	}
	if found == nil { // forgotten, but what comes next is the same
		found, at.event = s.addLocked(nil), 0
	}
	return s.listenLocked(found, at.event), nil
}

func (s *Session) addLocked(call link.Call) *stream {
	s.last++
	added := &stream{number: s.last, call: call}
	s.streams = append(s.streams, added)
	return added
}

func (s *Session) findLocked(at position) *stream {
	for _, found := range s.streams {
		if found.number == at.stream && (found.call != nil) == at.call {
			return found
		}
	}
	return nil
}

func (s *Session) openLocked(open func() (*Inbox, error)) (err error) {
	if s.inbox == nil {
		s.inbox, err = open()
	}
	return err
}

// position is what an event's id says: c7-2 is the second event of the session's
// stream 7, which is a call's; l… is what relates to no call.
type position struct {
	call          bool
	stream, event int
}

func (p position) String() string {
	kind := "l"
	if p.call {
		kind = "c"
	}
	return kind + strconv.Itoa(p.stream) + "-" + strconv.Itoa(p.event)
}

func parse(id string) (position, error) {
	stream, event, _ := strings.Cut(strings.TrimLeft(id, "cl"), "-")
	p := position{call: strings.HasPrefix(id, "c")}
	var err, also error
	p.stream, err = strconv.Atoi(stream)
	p.event, also = strconv.Atoi(event)
	if err != nil || also != nil || p.event < 0 || p.String() != id {
		return position{}, fmt.Errorf("%.50q: %w", id, ErrUnknown)
	}
	return p, nil
}
