package backend

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

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

	mu     sync.Mutex
	closed bool
	conns  map[*Conn]struct{}
}

// NewPool returns an empty pool.
func NewPool(opener Opener, network Network, log *slog.Logger) *Pool {
	return &Pool{opener: opener, network: network, log: log, closing: make(chan struct{}), conns: map[*Conn]struct{}{}}
}

// Exited brings a notice of the daemon to its instance.
func (p *Pool) Exited(exit control.Exit) { p.exits.deliver(exit) }

// Start starts an instance for one session of the handshake era, whose client
// initialises it.
func (p *Pool) Start(ctx context.Context, spec Spec) (*Conn, error) {
	return p.greeted(ctx, spec, role{mode: ofSession}, func(*Conn) error { return nil })
}

// StartInitialized starts an instance of the handshake era and initialises it in
// the gateway's name. A *RefusedError says that it is perhaps of the other era.
func (p *Pool) StartInitialized(ctx context.Context, spec Spec, offered Capabilities) (*Conn, error) {
	return p.greeted(ctx, spec, role{ofGateway, offered.requests()}, func(c *Conn) error { return c.initialize(ctx, offered) })
}

// StartStateless starts an instance of the stateless era and asks who it is. A
// *RefusedError says that it is perhaps of the other era, as one does that says
// nothing for so long as wait.
func (p *Pool) StartStateless(ctx context.Context, spec Spec, wait time.Duration) (*Conn, error) {
	return p.greeted(ctx, spec, role{mode: stateless}, func(c *Conn) error { return c.discover(ctx, wait) })
}

func (p *Pool) greeted(ctx context.Context, spec Spec, as role, greet func(*Conn) error) (*Conn, error) {
	opened, err := p.open(ctx, spec.Server)
	if err != nil {
		return nil, fmt.Errorf("start server %q: %w", spec.Server, err)
	}
	conn, err := p.adopt(opened, spec, as)
	if err != nil {
		return nil, fmt.Errorf("start server %q: %w", spec.Server, err)
	}
	if err := greet(conn); err != nil {
		conn.shut(err)
		return nil, fmt.Errorf("start server %q: %w", spec.Server, err)
	}
	return conn, nil
}

// open asks for an instance, until ctx, the time limit or the pool ends.
func (p *Pool) open(ctx context.Context, server string) (control.Opened, error) {
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
	opened, err := p.opener.Open(ctx, server)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	cancel(nil)
	watching.Wait()
	return opened, err
}

// adopt makes a Conn of an opened server and sees to it until its end.
func (p *Pool) adopt(opened control.Opened, spec Spec, as role) (*Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed { // the daemon stops the sandbox when the control connection ends
		opened.Close()
		return nil, errShutdown
	}
	conn := newConn(opened, p.exits.expect(opened.Sandbox), spec, as, p.log)
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
