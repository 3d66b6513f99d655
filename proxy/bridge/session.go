package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// Bounds of one session.
const (
	maxOngoing   = 256              // calls in flight at a time
	maxURIs      = 256              // resources watched at a time
	maxURIBytes  = 8 << 10          // of one of them
	maxInputs    = 16               // requests to the client in one round
	maxRounds    = 16               // of such requests for one call
	maxInputTime = 10 * time.Minute // for all of them, people's answers among them
	ackWait      = 30 * time.Second // for a server to acknowledge a subscription
	maxMeta      = 16 << 10         // bytes of what the client says of itself, which is remembered
)

var (
	errClosed = errors.New("the session has ended")
	errUnused = errors.New("the session has ended because it was not used")
)

// Info is what a Session must know beside its server.
type Info struct {
	Gateway     string        // name in place of that of a server that does not tell its own
	IdleTimeout time.Duration // a session unused for so long ends; 0: never
	Log         *slog.Logger
}

// Session is one handshake-era client in front of a stateless-era server. It
// remembers for the server what that era says with every request, and so outlives
// the processes that serve it. It is a link.Session.
type Session struct {
	server  link.Server
	info    Info
	inbox   *link.Queue     // what relates to no call
	ctx     context.Context //nolint:containedctx // of the session, which this type stands for
	cancel  context.CancelCauseFunc
	idle    *time.Timer
	running sync.WaitGroup  // what Done waits for
	over    context.Context //nolint:containedctx // ends when nothing of the session is left
	finish  context.CancelFunc

	mu        sync.Mutex
	opening   bool
	client    *client // nil before the answer to initialize
	said      *said   // as client
	watch     *watch  // nil before there is something to watch
	ongoing   map[ongoing]struct{}
	asked     map[string]chan<- mcp.Message // requests to the client without an answer, by raw id
	lastID    uint64                        // of what the gateway itself asks
	lastUsed  time.Time
	listening bool
	ended     error
}

// NewSession returns a session in front of a server. Close must be called.
func NewSession(server link.Server, info Info) *Session {
	s := &Session{
		server:   server,
		info:     info,
		inbox:    link.NewQueue(),
		ongoing:  map[ongoing]struct{}{},
		asked:    map[string]chan<- mcp.Message{},
		lastUsed: time.Now(),
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.over, s.finish = context.WithCancel(context.Background())
	if info.IdleTimeout > 0 {
		s.mu.Lock() // the timer may fire before it is assigned
		defer s.mu.Unlock()
		s.idle = time.AfterFunc(info.IdleTimeout, s.checkIdle)
	}
	return s
}

// Call passes a request on, or answers it. Errors are those of the server's Do,
// link.ErrBusy, and a *link.EndedError after the end of the session.
func (s *Session) Call(ctx context.Context, request mcp.Message) (link.Call, error) {
	client, err := s.use()
	if err != nil {
		return nil, err
	}
	refuse := func(code int, text string) (link.Call, error) {
		return link.Answered(mcp.NewError(request.ID(), code, text, nil)), nil
	}
	switch method := request.Method(); {
	case method == mcp.MethodPing:
		return link.Answered(mcp.NewResult(request.ID(), []byte("{}"))), nil
	case method == mcp.MethodInitialize:
		return s.open(ctx, request)
	case client == nil:
		return refuse(mcp.CodeInvalidRequest, "the session is not initialized: send initialize first")
	case method == mcp.MethodSetLevel:
		return link.Answered(s.setLevel(client, request)), nil
	case method == mcp.MethodSubscribe || method == mcp.MethodUnsubscribe:
		return s.subscribe(client, request)
	case foreign(method):
		return refuse(mcp.CodeMethodNotFound, fmt.Sprintf("there is no method %.100q", method))
	}
	return s.forward(ctx, client, request)
}

// Send takes a response or a notification of the client. Notifications that the
// stateless era does not know have nowhere to go.
func (s *Session) Send(_ context.Context, m mcp.Message) error {
	client, err := s.use()
	if err != nil {
		return err
	}
	switch {
	case m.Kind() == mcp.Response:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.answeredLocked(m)
	case m.Method() == mcp.MethodCancelled:
		s.cancelFor(m.At(m.Param("requestId")))
	case m.Method() == mcp.MethodInitialized && client != nil:
		if client.changes() {
			if w := s.watched(client); w != nil {
				w.start()
			}
		}
	}
	return nil
}

// Listen makes the caller the one reader of what relates to no call; ok is false
// if there is one already. stop ends it. A session with a listener is in use.
func (s *Session) Listen() (inbox *link.Queue, stop func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listening {
		return nil, nil, false
	}
	s.listening = true
	return s.inbox, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.listening = false
		s.lastUsed = time.Now()
	}, true
}

// Done is closed when the session has ended and nothing of it is left.
func (s *Session) Done() <-chan struct{} { return s.over.Done() }

// AfterDone has f called then.
func (s *Session) AfterDone(f func()) { context.AfterFunc(s.over, f) }

// Err is why the session has ended; nil while it serves.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// Close ends the session, its calls and its subscription. It does not wait.
func (s *Session) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(errClosed)
}

func (s *Session) endLocked(cause error) {
	if s.ended != nil {
		return
	}
	s.ended = cause
	if s.idle != nil {
		s.idle.Stop()
	}
	s.cancel(cause)
	left := slices.Collect(maps.Keys(s.ongoing))
	go func() { // nothing joins what is waited for any more
		for _, o := range left {
			o.stop(cause)
		}
		s.running.Wait()
		s.finish()
	}()
}

// checkIdle ends a session that nobody uses, or looks again later.
func (s *Session) checkIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := s.info.IdleTimeout - time.Since(s.lastUsed)
	if len(s.ongoing) > 0 || s.listening {
		rest = s.info.IdleTimeout
	}
	if rest > 0 {
		s.idle.Reset(rest)
		return
	}
	s.endLocked(errUnused)
}

// use notes that the client has come, and returns what is known of it; nil before
// it is initialized.
func (s *Session) use() (*client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return nil, &link.EndedError{Cause: s.ended}
	}
	s.lastUsed = time.Now()
	return s.client, nil
}

// do passes a request on to the server, waiting no longer than until ctx or while
// ends.
func (s *Session) do(ctx, while context.Context, request mcp.Message) (link.Call, error) {
	return s.pass(&until{Context: ctx, while: while}, request)
}

// pass does, too. If the process has ended that should have served it, the session has not.
func (s *Session) pass(taking *until, request mcp.Message) (link.Call, error) {
	defer taking.end(nil)
	call, err := s.server.Do(taking, request)
	if ended, ok := errors.AsType[*link.EndedError](err); ok {
		return nil, ended.Cause
	}
	return call, err
}

// answeredLocked gives a response of the client to who asked. One that nobody
// waits for came too late.
func (s *Session) answeredLocked(m mcp.Message) {
	if answers, ok := s.asked[string(m.ID())]; ok {
		delete(s.asked, string(m.ID()))
		answers <- m // there is room for each that was asked
	}
}

// cancelFor cancels the call that the client names by its own id. One that is not
// in flight is no error, and the handshake can't be cancelled (2025-11-25,
// cancellation).
func (s *Session) cancelFor(id []byte) {
	for _, o := range s.named(id) {
		o.Cancel("the client cancelled it")
	}
}

func (s *Session) named(id []byte) (named []ongoing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for o := range s.ongoing {
		if bytes.Equal(o.asked().ID(), id) && o.asked().Method() != mcp.MethodInitialize {
			named = append(named, o)
		}
	}
	return named
}

func (s *Session) nextIDLocked() []byte {
	s.lastID++
	return strconv.AppendUint(nil, s.lastID, 10)
}
