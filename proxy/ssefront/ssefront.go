// Package ssefront serves HTTP+SSE, the transport of revision 2024-11-05, to
// requests that were admitted: a stream of events for what the client is sent, and
// an address of its own for what it sends. Each stream is one connection both
// ways; its session ends with it.
//
// Runs in: proxy.
package ssefront

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/httpio"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// quietWait is how long nothing is sent before a comment keeps a stream alive.
const quietWait = 15 * time.Second

// What is wrong with a request.
var (
	ErrUnknown = errors.New("there is no such stream")
	ErrBusy    = errors.New("the stream has too many messages under way: try again later")
	ErrStreams = errors.New("this caller has too many streams: try again later")
)

// Front holds the streams that are open.
type Front struct {
	log *slog.Logger

	mu   sync.Mutex
	byID map[string]*stream
}

// New returns a front without streams.
func New(log *slog.Logger) *Front { return &Front{log: log, byID: map[string]*stream{}} }

// Admitted is what is known of whom a stream is for.
type Admitted struct {
	Origin     gate.Origin
	Caller     *policy.Identity
	Scope      policy.Scope
	Gate       func() *gate.Gate // in force now
	Allowed    func() bool       // whether the caller may go on
	Closing    <-chan struct{}   // closed when streams must end
	MaxStreams int               // of this caller at a time
}

// stream is one client's stream.
type stream struct {
	Admitted
	inbox  *link.Queue // what the client has sent, in its order
	duplex *gate.Duplex
}

// Serve serves one stream to its end. Its error says why there is none. The
// address for messages is the path of the stream and one part more.
func (f *Front) Serve(out *httpio.Writer, r *http.Request, a Admitted) error {
	s := &stream{Admitted: a, inbox: link.NewQueue()}
	id := rand.Text() // at least 128 random bits
	if err := f.add(id, s); err != nil {
		return err
	}
	s.duplex = gate.NewDuplex(a.Origin, a.Caller, a.Scope, a.Gate)
	ended := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		defer f.contain(s.duplex)
		s.read(ended)
	})
	defer reading.Wait()
	defer s.duplex.Close()
	defer close(ended)
	defer f.remove(id)
	s.write(httpio.NewEvents(out), r, r.URL.EscapedPath()+"/"+id)
	return nil
}

// Receive takes a message for a stream. Another's stream looks as if it were not
// there.
func (f *Front) Receive(caller *policy.Identity, scope policy.Scope, id string, m mcp.Message) error {
	f.mu.Lock()
	s := f.byID[id]
	f.mu.Unlock()
	switch {
	case s == nil || s.Caller.Subject != caller.Subject || s.Scope != scope:
		return ErrUnknown
	case !s.inbox.Offer(m):
		return ErrBusy
	}
	return nil
}

func (f *Front) add(id string, s *stream) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	own := 0
	for _, other := range f.byID {
		if other.Caller.Subject == s.Caller.Subject {
			own++
		}
	}
	if own >= s.MaxStreams {
		return ErrStreams
	}
	f.byID[id] = s
	return nil
}

func (f *Front) remove(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.byID, id)
}

// contain makes a panic end one stream alone.
func (f *Front) contain(d *gate.Duplex) {
	if problem := recover(); problem != nil {
		f.log.Error("stream panicked", "err", problem, "stack", string(debug.Stack()))
		d.Close()
	}
}

// read hands over what the client has sent, one message at a time.
func (s *stream) read(ended <-chan struct{}) {
	for {
		select {
		case <-s.inbox.Ready():
		case <-ended:
			return
		}
		for _, m := range s.inbox.Take() {
			s.duplex.Receive(m.Raw())
		}
	}
}

// write writes the stream: first of all where messages go to.
func (s *stream) write(events *httpio.Events, r *http.Request, address string) {
	err := events.Write("", "endpoint", []byte(address))
	quiet := time.NewTicker(quietWait)
	defer quiet.Stop()
	for err == nil {
		select {
		case m := <-s.duplex.Out():
			err = events.Write("", "message", m.Raw())
		case <-quiet.C:
			if !s.Allowed() {
				return
			}
			err = events.Comment()
		case <-s.duplex.Done():
			return
		case <-s.Closing:
			return
		case <-r.Context().Done():
			return
		}
	}
}
