package backend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/runtime/control"
)

// Pool starts instances and knows all that run.
type Pool struct {
	// Ended gets each instance that has ended, whoever had it; must be set before the
	// first starts. nil: nobody wants to know.
	Ended func(*Conn)
	// Untouched gives up an instance of a server that StartUntouched has started, for the
	// caller, and nil if there is none; must be set before the first starts.
	Untouched func(server string) *Conn

	opener  Opener
	network Network
	log     *slog.Logger
	exits   exits
	longs   longs
	running sync.WaitGroup
	closing chan struct{}

	mu     sync.Mutex
	closed bool
	conns  map[*Conn]struct{}
	// servers is what the last Reconcile said; nil before the first.
	servers map[string]Spec
	barred  map[string]error // by server: why none may be used
}

// NewPool returns an empty pool.
func NewPool(opener Opener, network Network, log *slog.Logger) *Pool {
	return &Pool{
		Untouched: func(string) *Conn { return nil },
		opener:    opener, network: network, log: log, closing: make(chan struct{}), conns: map[*Conn]struct{}{}, barred: map[string]error{},
	}
}

// Bar lets no instance of a server be used, for a cause that callers are told: those
// that run drain, and none is started until Admit.
func (p *Pool) Bar(server string, cause error) {
	p.mu.Lock()
	p.barred[server] = cause
	conns := slices.Collect(maps.Keys(p.conns))
	p.mu.Unlock()
	for _, conn := range conns {
		if conn.spec().Server == server {
			conn.Drain(cause)
		}
	}
}

// Admit undoes Bar.
func (p *Pool) Admit(server string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.barred, server)
}

// Barred is why no instance of a server may be used; nil if one may be.
func (p *Pool) Barred(server string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.barred[server]
}

// Exited brings a notice of the daemon to its instance.
func (p *Pool) Exited(exit control.Exit) { p.exits.deliver(exit) }

// Start starts an instance for one session of the handshake era, whose client
// initialises it.
func (p *Pool) Start(ctx context.Context, spec Spec) (*Conn, error) {
	return p.StartNext(ctx, spec, link.NewQueue(), 0)
}

// StartNext starts an instance for a session that had a number of others. What relates to
// no call goes into the session's inbox.
func (p *Pool) StartNext(ctx context.Context, spec Spec, inbox *link.Queue, number int) (*Conn, error) {
	return p.greeted(ctx, spec, role{mode: ofSession, inbox: inbox, number: number}, func(*Conn) error { return nil })
}

// StartInitialized starts an instance of the handshake era and initialises it in
// the gateway's name. A *RefusedError says that it is perhaps of the other era.
func (p *Pool) StartInitialized(ctx context.Context, spec Spec, offered Capabilities) (*Conn, error) {
	return p.greeted(ctx, spec, role{mode: ofGateway, offers: offered.requests()}, func(c *Conn) error { return c.initialize(ctx, offered) })
}

// StartStateless starts an instance of the stateless era and asks who it is. A
// *RefusedError says that it is perhaps of the other era, as one does that says
// nothing for so long as wait.
func (p *Pool) StartStateless(ctx context.Context, spec Spec, wait time.Duration) (*Conn, error) {
	return p.greeted(ctx, spec, role{mode: stateless}, func(c *Conn) error { return c.discover(ctx, wait) })
}

// StartUntouched starts an instance ahead. Nothing is written to it, so that any of the
// other starts can have it in the place of one that it would have to wait for: see
// Untouched. It is held.
func (p *Pool) StartUntouched(ctx context.Context, spec Spec) (*Conn, error) {
	return p.greeted(ctx, spec, role{mode: untouched}, func(c *Conn) error {
		c.Hold(true)
		return nil
	})
}

// greeted starts an instance by what is said of its server now. If that changes
// meanwhile, or the daemon ends, it begins anew.
func (p *Pool) greeted(ctx context.Context, spec Spec, as role, greet func(*Conn) error) (*Conn, error) {
	var conn *Conn
	var err error
	for range maxStarts {
		var changed *ChangedError
		var lost *LostError
		if conn, err = p.startOnce(ctx, spec, as, greet); err == nil {
			return conn, nil
		}
		if !errors.As(err, &changed) && !errors.As(err, &lost) {
			break
		}
	}
	return nil, fmt.Errorf("start server %q: %w", spec.Server, err)
}

func (p *Pool) startOnce(ctx context.Context, spec Spec, as role, greet func(*Conn) error) (*Conn, error) {
	newest, err := p.newest(spec)
	if err != nil {
		return nil, err
	}
	began, became := time.Now(), "instance put to use, which was started ahead"
	conn := p.take(ctx, newest, as)
	if conn == nil {
		became = "instance started"
		if conn, err = p.startCold(ctx, newest, as); err != nil {
			return nil, err
		}
	}
	conn.toolsChanged() // to those of the new instance
	if err = greet(conn); err == nil {
		err = conn.drains()
	}
	if err != nil && conn.Lost() {
		err = conn.Err()
	}
	if err != nil {
		conn.shut(err)
		return nil, err
	}
	conn.greeted.Store(as.mode != untouched)
	conn.log.InfoContext(ctx, became, "took", time.Since(began))
	return conn, nil
}

// take has an instance that was started ahead begin; nil if there is none as it must be now.
func (p *Pool) take(ctx context.Context, spec Spec, as role) *Conn {
	if as.mode == untouched {
		return nil
	}
	for {
		conn := p.Untouched(spec.Server)
		if conn == nil {
			return nil
		}
		if conn.Revision() == spec.Revision && !conn.Leaving() && conn.begin(as, control.Correlation(ctx)) {
			return conn
		}
		conn.Discard()
	}
}

// startCold has an instance be started for a role.
func (p *Pool) startCold(ctx context.Context, spec Spec, as role) (*Conn, error) {
	opened, err := p.open(ctx, spec.Server, spec.Revision)
	if err != nil {
		return nil, err
	}
	return p.adopt(ctx, opened, spec, as)
}

// open asks for an instance, until ctx, the time limit or the pool ends.
func (p *Pool) open(ctx context.Context, server, revision string) (control.Opened, error) {
	select {
	case <-p.closing:
		return control.Opened{}, errShutdown
	default:
	}
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
	opened, err := p.opener.Open(ctx, server, revision)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	cancel(nil)
	watching.Wait()
	return opened, err
}

// adopt makes a Conn of an opened server and sees to it until its end.
func (p *Pool) adopt(ctx context.Context, opened control.Opened, spec Spec, as role) (*Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed { // the daemon stops the sandbox when the control connection ends
		opened.Close()
		return nil, errShutdown
	}
	spec, err := p.newestLocked(spec)
	stale := err != nil || p.servers != nil && opened.Revision != spec.Revision
	conn, failure := newConn(opened, p.exits.expect(opened.Sandbox), spec, as, &p.longs, p.log)
	if failure != nil {
		opened.Close()
		return nil, failure
	}
	conn.startedFor = control.Correlation(ctx)
	p.conns[conn] = struct{}{}
	p.running.Go(func() {
		conn.run(p.opener, p.network)
		p.forget(conn)
		if p.Ended != nil {
			p.Ended(conn)
		}
	})
	if stale { // there was a reload while it started
		if err == nil {
			err = &ChangedError{spec.Server}
		}
		conn.Drain(err)
		return nil, err
	}
	return conn, nil
}

func (p *Pool) forget(conn *Conn) {
	p.exits.forget(conn.files.Sandbox)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
}

// Reconcile says what holds for each server from now on. Instances that were started
// from anything else, or whose server is not there any more, drain.
func (p *Pool) Reconcile(servers map[string]Spec) {
	p.mu.Lock()
	p.servers = servers
	conns := slices.Collect(maps.Keys(p.conns))
	p.mu.Unlock()
	for _, conn := range conns {
		spec, ok := servers[conn.spec().Server]
		if ok && spec.Revision == conn.files.Revision {
			conn.adjust(spec)
		} else {
			conn.Drain(&ChangedError{conn.spec().Server})
		}
	}
}

// Conns are the instances that run.
func (p *Pool) Conns() []*Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.conns))
}

// newest is what holds for a server now, whatever its caller knows of it.
func (p *Pool) newest(spec Spec) (Spec, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.newestLocked(spec)
}

func (p *Pool) newestLocked(spec Spec) (Spec, error) {
	if cause := p.barred[spec.Server]; cause != nil {
		return spec, cause
	}
	if p.servers == nil {
		return spec, nil
	}
	newest, ok := p.servers[spec.Server]
	if !ok {
		return spec, errGone
	}
	return newest, nil
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
