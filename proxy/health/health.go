// Package health asks instances that have nothing to do whether they are well: whether
// they answer, and whether the tools that they had are still there. It gives up those
// that fail twice in a row. Instances that are busy it leaves alone, since their calls
// have time limits of their own, and those that are frozen it does not wake. What it asks
// is no use of an instance, and no caller's.
//
// Runs in: proxy.
package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
	"mcpgateway/runtime/control"
)

const (
	maxFailures   = 2  // in a row, after which an instance is given up
	toolsEvery    = 10 // checks, one of which asks for the tools, too
	maxAtATime    = 64
	lookEvery     = time.Second // for instances whose turn it is
	frozenWait    = 5 * time.Second
	looksInterval = 4 // in the time between checks, at least
)

// Instances is what is watched.
type Instances interface {
	// Conns are those that run.
	Conns() []*backend.Conn
	// GiveUp is told of an instance that failed, and why, and ends it.
	GiveUp(conn *backend.Conn, why string)
}

// Checker watches instances. Its methods may be called concurrently.
type Checker struct {
	instances Instances
	log       *slog.Logger

	mu     sync.Mutex
	known  map[*backend.Conn]*record
	counts map[string]*Count
}

// Count is how the checks of a server's instances have ended since the proxy started.
// Those that said nothing, because the instance had something to do, are not counted.
type Count struct {
	Server     string
	OK, Failed uint64
}

// record is what is known of an instance. While it is busy it is the checking
// goroutine's; else it is guarded by Checker.mu.
type record struct {
	next  time.Time // when it is its turn
	busy  bool
	tools listing

	checks   int
	failures int    // in a row
	why      string // of the last one
}

// New returns a Checker that has asked nobody.
func New(instances Instances, log *slog.Logger) *Checker {
	return &Checker{instances: instances, log: log, known: map[*backend.Conn]*record{}, counts: map[string]*Count{}}
}

// Lister says what runs, and what of it is halted, whoever did that. A *peer.Client is
// one.
type Lister interface {
	List(ctx context.Context) ([]control.Sandbox, error)
}

// Run checks until ctx ends, by the rules of the time; while those are nil it asks
// nobody.
func (c *Checker) Run(ctx context.Context, daemon Lister, rules func() *policy.Health) error {
	var checking sync.WaitGroup
	defer checking.Wait()
	slots := make(chan struct{}, maxAtATime)
	look := time.NewTimer(0)
	defer look.Stop()
	for {
		select {
		case <-look.C:
		case <-ctx.Done():
			return nil
		}
		by, wait := rules(), lookEvery
		if by != nil {
			wait = min(lookEvery, by.Interval/looksInterval)
		}
		for conn, r := range c.due(by) {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
			checking.Go(func() {
				c.check(ctx, conn, r, *by, daemon)
				<-slots
			})
		}
		look.Reset(wait)
	}
}

// due are the instances whose turn it is. They are busy from now on.
func (c *Checker) due(by *policy.Health) map[*backend.Conn]*record {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	before, due := c.known, map[*backend.Conn]*record{}
	c.known = map[*backend.Conn]*record{}
	for _, conn := range c.instances.Conns() {
		r := before[conn]
		if r == nil {
			if by == nil {
				continue
			}
			// Not all that started together are asked together.
			r = &record{next: now.Add(rand.N(by.Interval))} //nolint:gosec // no secret
		}
		c.known[conn] = r
		if by != nil && !r.busy && !now.Before(r.next) {
			r.busy = true
			due[conn] = r
		}
	}
	return due
}

// check asks one instance, and judges it.
func (c *Checker) check(ctx context.Context, conn *backend.Conn, r *record, by policy.Health, daemon Lister) {
	err := c.ask(ctx, conn, r, by.Timeout)
	if err != nil && ctx.Err() == nil && !errors.Is(err, backend.ErrOccupied) && halted(ctx, daemon, conn.Sandbox()) {
		err = backend.ErrOccupied
	}
	if ctx.Err() != nil {
		return
	}
	failures, why := c.note(conn, r, err, by.Interval)
	log := c.log.With("server", conn.Server(), "sandbox", conn.Sandbox())
	switch {
	case why == "":
	case failures == 0:
		log.Info("instance is well again")
	case failures < maxFailures:
		log.Warn("instance failed a health check", "err", why)
	default:
		log.Warn("instance failed its health checks and is given up", "failures", failures, "err", why)
		c.instances.GiveUp(conn, fmt.Sprintf("it failed %d health checks in a row: %s", failures, why))
	}
}

// ask asks whether an instance answers and, now and then, for its tools. The error says
// what is wrong, or that nothing is known.
func (c *Checker) ask(ctx context.Context, conn *backend.Conn, r *record, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := conn.Alive(ctx); err != nil {
		return err
	}
	if !conn.Own() || r.checks%toolsEvery != 0 && r.tools.well {
		return nil
	}
	return r.tools.look(ctx, conn)
}

// halted reports whether somebody has frozen a sandbox, or may have.
func halted(ctx context.Context, daemon Lister, sandbox string) bool {
	ctx, cancel := context.WithTimeout(ctx, frozenWait)
	defer cancel()
	running, err := daemon.List(ctx)
	return err != nil || slices.ContainsFunc(running, func(s control.Sandbox) bool { return s.ID == sandbox && s.Frozen })
}

// note remembers how a check has ended. It returns how many have failed in a row, and
// why this one or, if it is the first that did not, the one before it did.
func (c *Checker) note(conn *backend.Conn, r *record, err error, interval time.Duration) (failures int, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.busy, r.next = false, time.Now().Add(interval)
	if errors.Is(err, backend.ErrOccupied) {
		return r.failures, ""
	}
	count := c.counts[conn.Server()]
	if count == nil {
		count = &Count{Server: conn.Server()}
		c.counts[conn.Server()] = count
	}
	r.checks++
	why = r.why
	if err == nil {
		count.OK++
		r.failures, r.why = 0, ""
		return 0, why
	}
	count.Failed++
	r.failures++
	r.why = err.Error()
	return r.failures, r.why
}

// Failing is why the last check of an instance failed; "" if it did not, or there was
// none.
func (c *Checker) Failing(conn *backend.Conn) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.known[conn]; r != nil {
		return r.why
	}
	return ""
}

// Counts lists how checks have ended, by server.
func (c *Checker) Counts() []Count {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Count
	for _, server := range slices.Sorted(maps.Keys(c.counts)) {
		all = append(all, *c.counts[server])
	}
	return all
}
