package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/breaker"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// session is one client's session of the handshake era with a process of its own, which
// it outlives: when that has ended by itself, or drains, the next request starts another,
// initialises it as the client did, and has it know what the client had set. What the
// process itself remembered is lost, and the client is told that its lists may be others.
type session struct {
	leave      func()
	fleet      *Fleet
	place      breaker.Place
	initialize mcp.Message     // the client's own
	revision   string          // that the server agreed to
	inbox      *link.Queue     // what relates to no call, of all its processes
	over       context.Context //nolint:containedctx // of the session: ends when nothing of it is left
	finish     context.CancelFunc

	mu        sync.Mutex
	spec      *Spec              // as it was when the session was opened
	now       *instance          // the newest
	lives     map[*instance]life // that are not gone: now, and those that drain
	numbers   int                // of processes that were started
	next      *revival           // under way
	set       settings
	listening bool
	lastUsed  time.Time
	idle      *time.Timer // while there is no process
	ended     error
}

// life is what a session knows of one of its processes.
type life struct {
	number int
	deafen func() // ends the listening; nil if nobody listens
}

// revival is the start of a process in the place of another.
type revival struct {
	ctx    context.Context //nolint:containedctx // of the start, for which many callers may wait
	cancel context.CancelFunc
	done   chan struct{} // closed when one of these is set
	by     *instance
	err    error
}

var errClosed = errors.New("the session has ended")

// newSession returns the session of a process that has answered initialize. leave is
// called when it ends.
func (f *Fleet) newSession(spec *Spec, at breaker.Place, conn *backend.Conn, initialize, answer mcp.Message, leave func()) *session {
	s := &session{
		leave: leave, fleet: f, place: at, initialize: initialize, inbox: conn.Inbox(),
		spec: spec, lives: map[*instance]life{}, lastUsed: time.Now(),
	}
	s.over, s.finish = context.WithCancel(context.Background())
	s.revision, _ = answer.Text(answer.InResult("protocolVersion"))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.adoptLocked(spec, conn, 0)
	return s
}

// adoptLocked makes a process the one that serves the session.
func (s *session) adoptLocked(spec *Spec, conn *backend.Conn, number int) {
	if s.idle != nil {
		s.idle.Stop()
	}
	s.now = &instance{conn: conn, place: s.place}
	s.numbers = number + 1
	born := life{number: number}
	if s.listening {
		_, born.deafen, _ = conn.Listen()
	}
	s.lives[s.now] = born
	i := s.now
	s.fleet.follow(i, spec)
	s.fleet.running.Go(func() {
		<-i.conn.Done()
		s.lost(i)
	})
}

// Call passes a request on.
func (s *session) Call(ctx context.Context, request mcp.Message) (link.Call, error) {
	for try := 1; ; try++ {
		to, err := s.instance(ctx)
		if err != nil {
			return nil, err
		}
		call, err := s.fleet.judged(ctx, s.place, s.fleet.newest(s.spec).Breaker, to.conn.Ended(), request, func() (link.Call, error) {
			return to.conn.Call(ctx, request)
		})
		if err == nil {
			s.note(request)
			return call, nil
		}
		var gone *link.EndedError
		switch {
		case !errors.As(err, &gone): // else between being found and being called: there is a new one now
			return nil, err
		case try == maxTries: // the session goes on
			return nil, gone.Cause
		}
	}
}

// instance is the process that takes requests. It is started if there is none, once for
// all who wait for it.
func (s *session) instance(ctx context.Context) (*instance, error) {
	s.mu.Lock()
	s.noticeLocked()
	if s.ended != nil {
		defer s.mu.Unlock()
		return nil, &link.EndedError{Cause: s.ended}
	}
	s.lastUsed = time.Now()
	if now := s.now; !now.conn.Leaving() {
		s.mu.Unlock()
		return now, nil
	}
	next, err := s.reviveLocked()
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	end := s.fleet.begin(ctx, s.spec.Server, "restart")
	select {
	case <-next.done:
		end(next.err)
		return next.by, next.err
	case <-ctx.Done():
		end(context.Cause(ctx))
		return nil, context.Cause(ctx)
	}
}

// reviveLocked begins to start another process, unless somebody does.
func (s *session) reviveLocked() (*revival, error) {
	if s.next != nil {
		return s.next, nil
	}
	f := s.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, errShutdown
	}
	next := &revival{done: make(chan struct{})}
	next.ctx, next.cancel = context.WithCancel(f.ctx) // it is nobody's in particular
	s.next = next
	before, number := s.now, s.numbers
	f.running.Go(func() {
		defer next.cancel()
		s.revive(next, before, number)
	})
	return next, nil
}

// revive starts another process.
func (s *session) revive(next *revival, before *instance, number int) {
	f := s.fleet
	spec := f.newest(s.spec)
	f.over(before, spec) // it may not have been noticed yet
	conn, err := s.start(next.ctx, spec, number)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := errors.AsType[*revisionError](err); ok {
		s.endLocked(err)
	}
	if s.ended != nil {
		err = &link.EndedError{Cause: s.ended}
	}
	if conn != nil && s.ended != nil {
		conn.Close()
	}
	if conn != nil {
		s.adoptLocked(spec, conn, number)
		if before.conn.Failed() {
			f.tellRestart(spec, conn)
		}
	}
	next.by, next.err = s.now, err
	s.next = nil
	close(next.done)
	s.settleLocked()
}

// start starts a process, when its place may have one, and has it be where the one
// before it was.
func (s *session) start(ctx context.Context, spec *Spec, number int) (*backend.Conn, error) {
	f := s.fleet
	if err := f.resting(s.place, spec); err != nil {
		return nil, err
	}
	if err := f.pause(ctx, s.place, spec); err != nil {
		return nil, err
	}
	began := time.Now()
	var conn *backend.Conn
	var err error
	for try := 1; try <= maxTries; try++ {
		if conn, err = f.pool.StartNext(ctx, spec.Spec, s.inbox, number); err != nil {
			break
		}
		if err = s.replay(ctx, conn); err == nil {
			break
		}
		conn.Close()
		if !conn.Lost() {
			break
		}
		err = conn.Err()
	}
	f.tellStart(spec, began, conn, err)
	if err == nil {
		return conn, nil
	}
	var other *revisionError
	if ctx.Err() == nil && !errors.As(err, &other) {
		f.failed(s.place, spec, err)
	}
	return nil, err
}

// revisionError says that a process does not speak the revision of its session.
type revisionError struct{ server, want, got string }

func (e *revisionError) Error() string {
	return fmt.Sprintf("server %q was started again and speaks revision %.40q now, not %s as before: initialize again", e.server, e.got, e.want)
}

// replay brings a new process to where the one before it was.
func (s *session) replay(ctx context.Context, conn *backend.Conn) error {
	answer, err := open(ctx, conn, s.initialize)
	if err != nil {
		return err
	}
	if answer.Err() != nil {
		text, _ := answer.Text(answer.InError("message"))
		if answer.Failure() != "" {
			return errors.New(text)
		}
		return fmt.Errorf("server %q refused the initialize that it took before: %.300q", s.spec.Server, text)
	}
	if got, _ := answer.Text(answer.InResult("protocolVersion")); got != s.revision {
		return &revisionError{s.spec.Server, s.revision, got}
	}
	s.mu.Lock()
	set := s.set.clone()
	s.mu.Unlock()
	if set.initialized.Raw() == nil {
		return nil // the client has not come so far
	}
	if err := conn.Send(ctx, set.initialized); err != nil {
		return err
	}
	for _, request := range set.requests() {
		// What becomes of it is the client's matter no more; it took it before.
		call, err := conn.Call(ctx, request)
		if err != nil {
			return err
		}
		call.Detach()
	}
	for _, notice := range set.notices(answer) {
		s.inbox.Drop(func(m mcp.Message) bool { return string(m.Raw()) == string(notice.Raw()) })
		s.inbox.Offer(notice)
	}
	return nil
}

// note remembers what a request sets.
func (s *session) note(request mcp.Message) {
	switch request.Method() {
	case mcp.MethodSetLevel, mcp.MethodSubscribe, mcp.MethodUnsubscribe:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.set.note(request)
	}
}

// Send passes on a notification or a response of the client. A response goes to the
// process that asked, and nowhere if that is gone.
func (s *session) Send(ctx context.Context, m mcp.Message) error {
	s.mu.Lock()
	s.noticeLocked()
	if s.ended != nil {
		defer s.mu.Unlock()
		return &link.EndedError{Cause: s.ended}
	}
	s.lastUsed = time.Now()
	if m.Method() == mcp.MethodInitialized {
		s.set.initialized = m
	}
	var to []*backend.Conn
	asked, _ := backend.Questioner(m.ID())
	for i, known := range s.lives {
		if i.conn.Err() == nil && (m.Kind() != mcp.Response || known.number == asked) {
			to = append(to, i.conn)
		}
	}
	s.mu.Unlock()
	for _, conn := range to {
		var gone *link.EndedError
		if err := conn.Send(ctx, m); err != nil && !errors.As(err, &gone) {
			return err
		}
	}
	return nil
}

// Listen makes the caller the one reader of what relates to no call; ok is false if
// there is one already. stop ends it. A session with a listener is in use.
func (s *session) Listen() (inbox *link.Queue, stop func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listening {
		return nil, nil, false
	}
	s.listening = true
	for i, known := range s.lives {
		_, known.deafen, _ = i.conn.Listen()
		s.lives[i] = known
	}
	return s.inbox, s.deafen, true
}

func (s *session) deafen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listening = false
	s.lastUsed = time.Now()
	for i, known := range s.lives {
		if known.deafen != nil {
			known.deafen()
		}
		known.deafen = nil
		s.lives[i] = known
	}
}

// Done is closed when the session has ended and nothing of it is left.
func (s *session) Done() <-chan struct{} { return s.over.Done() }

// AfterDone has f called then.
func (s *session) AfterDone(f func()) { context.AfterFunc(s.over, f) }

// Err is why the session has ended; nil while it serves.
func (s *session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noticeLocked()
	return s.ended
}

// Close ends the session. It does not wait.
func (s *session) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(errClosed)
}

func (s *session) endLocked(cause error) {
	if s.ended != nil {
		return
	}
	s.ended = cause
	s.leave()
	if s.idle != nil {
		s.idle.Stop()
	}
	if s.next != nil {
		s.next.cancel()
	}
	for i := range s.lives {
		i.conn.Close()
	}
	s.settleLocked()
}

// settleLocked closes Done when nothing of a session that has ended is left.
func (s *session) settleLocked() {
	if s.ended != nil && s.next == nil && len(s.lives) == 0 {
		s.finish()
	}
}

// noticeLocked ends the session if its newest process has ended in a way that ends it.
func (s *session) noticeLocked() {
	if end := s.now.conn.End(); end.Err != nil && s.endsWith(end) {
		s.endLocked(end.Err)
	}
}

// endsWith reports whether the session does not outlive such an end of its process.
func (s *session) endsWith(end backend.End) bool {
	final := backend.Final(end.Err) || s.fleet.gone(s.spec.Server) || len(s.initialize.Raw()) > maxRemembered
	var lost *backend.LostError // for the client it is as a crash: what the process remembered is gone
	return final || (end.Failed || errors.As(end.Err, &lost)) && s.fleet.newest(s.spec).OnCrash == policy.OnCrashEndSession
}

// lost takes note that a process is gone.
func (s *session) lost(i *instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.lives, i)
	if i == s.now {
		s.noticeLocked()
		if s.ended == nil { // nothing else tells that nobody comes any more
			s.idle = time.AfterFunc(s.fleet.newest(s.spec).IdleTimeout, s.checkIdle)
		}
	}
	s.settleLocked()
}

// checkIdle ends a session without a process that nobody uses, or looks again later.
func (s *session) checkIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil || s.now.conn.Err() == nil {
		return // its process has a time of its own
	}
	all := s.fleet.newest(s.spec).IdleTimeout
	rest := all - time.Since(s.lastUsed)
	if s.listening || s.next != nil {
		rest = all
	}
	if rest > 0 {
		s.idle.Reset(rest)
		return
	}
	s.endLocked(errUnused)
}

var errUnused = errors.New("the session has ended because it was not used")

// gone reports whether the configuration has a server no more.
func (f *Fleet) gone(server string) bool {
	return f.specs.Load() != nil && f.known(server) == nil
}
