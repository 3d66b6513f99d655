package backend

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"mcpgateway/runtime/control"
)

// Pool starts instances and knows all that run.
type Pool struct {
	opener  Opener
	network Network
	log     *slog.Logger
	exits   exits
	running sync.WaitGroup
	closing chan struct{}

	mu      sync.Mutex
	closed  bool
	conns   map[*Conn]struct{}
	callers map[caller]*slot
	warm    map[string]*Conn // by server: initialised, and used by nobody yet
}

// caller is whom a shared instance belongs to.
type caller struct{ server, subject string }

// slot is a shared instance that is there or on its way.
type slot struct {
	ready chan struct{} // closed when conn or err is set
	conn  *Conn
	err   error
}

// NewPool returns an empty pool.
func NewPool(opener Opener, network Network, log *slog.Logger) *Pool {
	return &Pool{
		opener:  opener,
		network: network,
		log:     log,
		closing: make(chan struct{}),
		conns:   map[*Conn]struct{}{},
		callers: map[caller]*slot{},
		warm:    map[string]*Conn{},
	}
}

// Exited brings a notice of the daemon to its instance.
func (p *Pool) Exited(exit control.Exit) { p.exits.deliver(exit) }

// Start starts an instance for one session.
func (p *Pool) Start(ctx context.Context, spec Spec) (*Conn, error) {
	conn, err := p.start(ctx, spec, false)
	if err != nil {
		return nil, fmt.Errorf("start server %q: %w", spec.Server, err)
	}
	return conn, nil
}

func (p *Pool) start(ctx context.Context, spec Spec, shared bool) (*Conn, error) {
	opened, err := p.open(ctx, spec.Server)
	if err != nil {
		return nil, err
	}
	return p.adopt(opened, spec, shared)
}

// open asks for an instance, until ctx, the time limit or the pool ends.
func (p *Pool) open(ctx context.Context, server string) (control.Opened, error) {
	ctx, limit := context.WithTimeoutCause(ctx, openWait, fmt.Errorf("not started within %s", openWait))
	defer limit()
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-p.closing:
			cancel(errShutdown)
		case <-ctx.Done():
		}
	})
	opened, err := p.opener.Open(ctx, server)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	cancel(nil)
	watching.Wait()
	return opened, err
}

// adopt makes a Conn of an opened server and sees to it until its end.
func (p *Pool) adopt(opened control.Opened, spec Spec, shared bool) (*Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed { // the daemon stops the sandbox when the control connection ends
		opened.Close()
		return nil, errShutdown
	}
	conn := newConn(opened, p.exits.expect(opened.Sandbox), spec, shared, p.log)
	p.conns[conn] = struct{}{}
	p.running.Go(func() {
		conn.run(p.opener, p.network)
		p.forget(conn)
	})
	return conn, nil
}

func (p *Pool) forget(conn *Conn) {
	p.exits.forget(conn.files.Sandbox)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
	for key, s := range p.callers {
		if s.conn == conn {
			delete(p.callers, key)
		}
	}
	if p.warm[conn.spec.Server] == conn {
		delete(p.warm, conn.spec.Server)
	}
}

// ForCaller returns the instance that serves all stateless requests of one
// caller to one server. It is started and initialised if there is none.
func (p *Pool) ForCaller(ctx context.Context, spec Spec, subject string) (*Conn, error) {
	s := p.slot(ctx, spec, caller{spec.Server, subject})
	select {
	case <-s.ready:
		return s.conn, s.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// slot returns the slot of a caller, a new one if the instance in it has ended.
func (p *Pool) slot(ctx context.Context, spec Spec, key caller) *slot {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.callers[key]; s != nil && !s.overLocked() {
		return s
	}
	s := &slot{ready: make(chan struct{})}
	if p.closed {
		s.err = errShutdown
		close(s.ready)
		return s
	}
	p.callers[key] = s
	if conn := p.warm[spec.Server]; conn != nil && conn.Err() == nil {
		delete(p.warm, spec.Server)
		s.conn = conn
		close(s.ready)
		return s
	}
	// Others wait for it too: it does not end with the request that came first.
	ctx = context.WithoutCancel(ctx)
	p.running.Go(func() { p.fill(ctx, spec, key, s) })
	return s
}

func (p *Pool) fill(ctx context.Context, spec Spec, key caller, s *slot) {
	conn, err := p.startInitialized(ctx, spec)
	p.mu.Lock()
	defer p.mu.Unlock()
	s.conn, s.err = conn, err
	if err != nil && p.callers[key] == s {
		delete(p.callers, key)
	}
	close(s.ready)
}

// overLocked reports whether the slot's instance has ended. p.mu must be held.
func (s *slot) overLocked() bool {
	select {
	case <-s.ready:
		return s.err != nil || s.conn.Err() != nil
	default:
		return false
	}
}

func (p *Pool) startInitialized(ctx context.Context, spec Spec) (*Conn, error) {
	conn, err := p.start(ctx, spec, true)
	if err != nil {
		return nil, fmt.Errorf("start server %q: %w", spec.Server, err)
	}
	if err := conn.initialize(ctx); err != nil {
		conn.shut(err)
		return nil, fmt.Errorf("start server %q: %w", spec.Server, err)
	}
	return conn, nil
}

// Warm starts and initialises an instance ahead, to see that it works. The first
// stateless caller gets it.
func (p *Pool) Warm(ctx context.Context, spec Spec) error {
	conn, err := p.startInitialized(ctx, spec)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.warm[spec.Server] = conn
	p.mu.Unlock()
	return nil
}

// Close ends every instance and returns when they are gone. Calls in flight are
// answered with an error.
func (p *Pool) Close() {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.closing)
	}
	for conn := range p.conns {
		conn.shut(errShutdown)
	}
	p.mu.Unlock()
	p.running.Wait()
}
