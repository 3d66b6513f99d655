// Package proxy takes the configuration generations that the daemon sends,
// builds a complete gate of each, and swaps it in. Sessions and instances outlive
// a generation; what they may still do is decided by the newest one. It holds no
// privilege and reads no file.
//
// Runs in: proxy.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/audit"
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/egress"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/httpfront"
	"mcpgateway/proxy/metrics"
	"mcpgateway/proxy/operator"
	"mcpgateway/proxy/report"
	"mcpgateway/proxy/usage"
	"mcpgateway/runtime/control"
)

// Proxy is the unprivileged side of the gateway.
type Proxy struct {
	log      *slog.Logger
	logging  func(policy.Logging)
	daemon   Daemon
	fleet    *fleet.Fleet
	sessions *gate.Sessions
	memory   *memory
	current  atomic.Pointer[httpfront.Current]
	first    chan struct{} // closed when the first generation is in force
	refused  chan struct{} // closed when the first was refused
	reason   error         // why; read after that
	warm     atomic.Bool   // the eager servers have started
	applying atomic.Bool   // Apply is under way
	started  time.Time
	applied  atomic.Int64 // when the generation in force was, in nanoseconds
	reloaded atomic.Pointer[report.Reload]
	serving  atomic.Pointer[Listeners]
	audit    *audit.Log
	handover audit.Handover // came for the next generation; without a file if none did
	lost     bool           // the daemon whose policy is in force; like handover it is for who calls Apply
	back     chan struct{}  // holds a token if there is another one since

	connections connections
}

// Daemon is what the proxy wants of the daemon. A *peer.Link is one.
type Daemon interface {
	backend.Opener
	// List gives the proxy's own sandboxes that run.
	List(ctx context.Context) ([]control.Sandbox, error)
	// Away is why there is no daemon; nil if there is one.
	Away() error
}

// Options are what a proxy is made of.
type Options struct {
	Daemon   Daemon
	Audit    *audit.Log
	StateDir string // a folder of its own, which outlives it; "": it has none
	Log      *slog.Logger
	// Logging is told how to log from now on, by each policy that is applied; nil: nobody
	// is.
	Logging func(policy.Logging)
}

// New returns a Proxy that waits for its first policy and opens servers over a daemon's
// connection.
func New(o Options) *Proxy {
	memory, log := newMemory(o), egress.Log(o.Log)
	record := func(r egress.Record) {
		log(r)
		memory.usage.Egress(r)
	}
	p := &Proxy{
		log:         o.Log,
		logging:     o.Logging,
		daemon:      o.Daemon,
		sessions:    gate.NewSessions(o.Log),
		memory:      memory,
		first:       make(chan struct{}),
		refused:     make(chan struct{}),
		back:        make(chan struct{}, 1),
		audit:       o.Audit,
		started:     time.Now(),
		connections: newConnections(),
	}
	p.memory.metrics = metrics.New(counted{p}, o.Log)
	p.fleet = fleet.New(o.Daemon, serveNetwork(record, p.memory.metrics.Traffic), o.Log)
	p.fleet.Observe(p.memory.happened)
	return p
}

// Apply puts a generation in force, a policy.Policy as JSON. An error leaves the
// one before in force. Calls must come one at a time.
func (p *Proxy) Apply(generation uint64, document []byte) error {
	p.applying.Store(true)
	defer p.applying.Store(false)
	err := p.apply(generation, document)
	if err != nil && p.current.Load() == nil && p.reason == nil {
		p.reason = err
		close(p.refused)
	}
	return err
}

func (p *Proxy) apply(generation uint64, document []byte) error {
	file := p.handover
	p.handover = audit.Handover{}
	next, err := parse(generation, document)
	if l := p.serving.Load(); err == nil && p.lost && l != nil {
		err = l.judge(next, p.log)
	}
	if err == nil && next.Audit != nil && file.File == nil {
		err = errors.New("it wants an audit log, but no file came with it")
	}
	if err != nil {
		file.Close()
		return fmt.Errorf("apply policy %d: %w", generation, err)
	}
	rules, err := p.memory.rules(next)
	if err != nil {
		file.Close()
		return fmt.Errorf("apply policy %d: %w", generation, err)
	}
	p.audit.Apply(next.Audit, file)
	current := &httpfront.Current{
		Policy: next, Auth: rules.Auth, Gate: gate.New(rules, p.fleet, p.sessions), Floods: p.memory.floods,
	}
	// Before anybody is served by the new policy: it must not reach an old instance.
	current.Gate.Reconcile()
	previous := p.current.Swap(current)
	p.applied.Store(time.Now().UnixNano())
	if previous == nil {
		close(p.first)
	}
	rules.Auth.Prepare()
	if p.logging != nil {
		p.logging(next.Logging)
	}
	if p.lost {
		p.returned(generation)
	}
	p.log.Info("policy applied", "generation", generation, "servers", len(next.Servers), "keys", len(next.Keys))
	return nil
}

// TakeAudit takes the audit log's file that came for the generation that Apply
// gets next.
func (p *Proxy) TakeAudit(file audit.Handover) {
	p.handover.Close()
	p.handover = file
}

// Audit is the audit log of calls and decisions, which must run while the proxy
// serves, and after that.
func (p *Proxy) Audit() *audit.Log { return p.audit }

// Usage counts what is used. It must run while the proxy serves, and after that.
func (p *Proxy) Usage() *usage.Meter { return p.memory.usage }

// Trace sends the spans of calls until ctx ends, and then what is left. It must run
// while the proxy serves, and a little longer.
func (p *Proxy) Trace(ctx context.Context) error { return p.memory.tracer.Run(ctx) }

// Exited takes the daemon's notice that a sandbox has ended.
func (p *Proxy) Exited(exit control.Exit) {
	for _, w := range p.memory.watchers() {
		w.Ended(exit)
	}
	p.fleet.Exited(exit)
}

// Reloaded takes the daemon's notice that a reload has ended.
func (p *Proxy) Reloaded(generation uint64, good bool) {
	p.memory.metrics.Reloaded(generation, good)
	p.reloaded.Store(&report.Reload{Time: time.Now(), Good: good, Generation: generation})
}

// Await returns when the first policy is in force, or with the reason why ctx ended
// or the first policy was refused.
func (p *Proxy) Await(ctx context.Context) error {
	select {
	case <-p.first:
		return nil
	case <-p.refused:
		return p.reason
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Start waits for the first policy and starts its eager servers, all at a time.
// Its error has a line for every server that did not start: start server "x": why.
func (p *Proxy) Start(ctx context.Context) error {
	if err := p.Await(ctx); err != nil {
		return err
	}
	if failures := p.warmUp(ctx, nil); len(failures) > 0 {
		return errors.Join(failures...)
	}
	p.warm.Store(true)
	return nil
}

// warmUp starts the eager servers, all at a time, but for those that run.
func (p *Proxy) warmUp(ctx context.Context, running map[string]bool) (failures []error) {
	current := p.current.Load()
	var starting sync.WaitGroup
	var mu sync.Mutex
	for name, server := range current.Policy.Servers {
		if !server.Eager || running[name] {
			continue
		}
		starting.Go(func() {
			if err := current.Gate.Warm(ctx, name); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failures = append(failures, err)
			}
		})
	}
	starting.Wait()
	return failures
}

// ServeAdmin serves the health checks and metrics until ctx ends.
func (p *Proxy) ServeAdmin(ctx context.Context, listeners ...net.Listener) error {
	return httpfront.ServeAdmin(ctx, p.readiness(), p.memory.metrics, p.log, listeners...)
}

// ServeOperator answers root on listeners of Unix sockets until ctx ends.
func (p *Proxy) ServeOperator(ctx context.Context, listeners ...net.Listener) error {
	const root = 0
	return operator.New(asked{p}, root, p.log).Serve(ctx, listeners...)
}
