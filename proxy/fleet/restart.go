package fleet

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"time"

	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/breaker"
	"mcpgateway/proxy/telemetry"
)

// StoppedError says that an operator has stopped a server.
type StoppedError struct{ Server string }

func (e *StoppedError) Error() string {
	return fmt.Sprintf("server %q was stopped by an operator, who starts it again with: mcp-gateway servers start %s", e.Server, e.Server)
}

// Stop has a server refuse calls with a *StoppedError until Start. Its instances end when
// the calls that they have in flight have; sessions outlive that. A gateway that is
// started anew knows nothing of it.
func (f *Fleet) Stop(server string) {
	f.log.Info("server stopped by an operator", "server", server)
	f.pool.Bar(server, &StoppedError{server})
}

// Start undoes Stop, and clears what the server is left alone for: see Clear.
func (f *Fleet) Start(server string) {
	f.log.Info("server started by an operator", "server", server)
	f.pool.Admit(server)
	f.Clear(server)
}

// Stopped reports whether an operator has stopped a server.
func (f *Fleet) Stopped(server string) bool { return f.pool.Barred(server) != nil }

// Clear lifts the crash loops and closes the circuit breakers of a server: the next call
// starts an instance.
func (f *Fleet) Clear(server string) {
	f.restarts.Clear(server)
	f.breakers.Clear(server)
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.spares[server]; s != nil {
		s.wake()
	}
}

// known is what the last Reconcile said of a server; nil if nothing.
func (f *Fleet) known(server string) *Spec {
	if specs := f.specs.Load(); specs != nil {
		return (*specs)[server]
	}
	return nil
}

// newest is what holds for a server now, whatever its caller knows of it.
func (f *Fleet) newest(spec *Spec) *Spec {
	return cmp.Or(f.known(spec.Server), spec)
}

// pause waits until an instance may be started at a place.
func (f *Fleet) pause(ctx context.Context, at breaker.Place, spec *Spec) error {
	wait, err := f.restarts.Wait(at, spec.Restart, spec.Revision)
	if err != nil || wait == 0 {
		return err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// follow sees an instance to its end: a long life, or that it ends by itself, counts for
// the place that it has by then.
func (f *Fleet) follow(i *instance, spec *Spec) {
	f.running.Go(func() {
		if spec.Restart.Limit > 0 {
			reset := time.NewTimer(spec.Restart.Reset)
			defer reset.Stop()
			select {
			case <-reset.C:
				f.mu.Lock()
				at := i.at(spec)
				f.mu.Unlock()
				f.restarts.Lived(at)
			case <-i.conn.Done():
			}
		}
		<-i.conn.Done()
		f.over(i, spec)
	})
}

// over counts the end of an instance for the restarts of its place, once.
func (f *Fleet) over(i *instance, spec *Spec) {
	now := f.newest(spec)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.countLocked(i, now)
}

// countLocked is over under f.mu.
func (f *Fleet) countLocked(i *instance, spec *Spec) {
	if end := i.conn.End(); end.Failed && !i.counted.Swap(true) {
		f.restarts.Failed(i.at(spec), spec.Restart, i.conn.Revision(), end.Err)
	}
}

// noticeLocked counts the end of a slot's instance, which nobody may have noticed yet. s
// may be nil; f.mu must be held.
func (f *Fleet) noticeLocked(s *slot, spec *Spec) {
	if s != nil && s.over() && s.err == nil {
		f.countLocked(s.instance, spec)
	}
}

// mendLocked tells of an instance that takes the place of one that ended by itself. f.mu
// must be held.
func (f *Fleet) mendLocked(i *instance, spec *Spec) {
	if f.restarts.After(i.place) > 0 {
		f.tellRestart(spec, i.conn)
	}
}

// at is the place of an instance. Fleet.mu must be held.
func (i *instance) at(spec *Spec) breaker.Place {
	if i.place.Server == "" {
		return spareOf(spec.Server)
	}
	return i.place
}

// spareOf is the place of the instances of a server that nobody has yet.
func spareOf(server string) breaker.Place { return breaker.Place{Server: server, Instance: "spare"} }

// Event is something that became of an instance.
type Event struct {
	Kind    EventKind
	Project string
	Server  string
	Sandbox string        // "" if it did not start
	Took    time.Duration // that it took to start
	Cause   backend.Cause // of an end
	Failed  bool          // of an end: nobody wanted it
	Lost    bool          // of an end: it was the daemon's, which tells nothing of it
	Err     error         // of an end, or of a start; may hold what a server wrote
}

// EventKind says what became of an instance.
type EventKind string

// The kinds. Each instance is Started or NotStarted; one that is Started in the place of
// one that ended by itself is Restarted after that. Those that are asked for the era that
// they speak, and are not of it, and those that were kept ready and nobody came for, have
// an end alone.
const (
	Started    EventKind = "started"
	NotStarted EventKind = "not-started"
	Restarted  EventKind = "restarted"
	Ended      EventKind = "ended"
)

// Observe has somebody be told of each event, before any instance is started. It is
// called concurrently and must not wait.
func (f *Fleet) Observe(observer func(Event)) { f.observers = append(f.observers, observer) }

func (f *Fleet) tell(e Event) {
	for _, o := range f.observers {
		o(e)
	}
}

// tellStart tells how a start ended that began at a time.
func (f *Fleet) tellStart(spec *Spec, began time.Time, conn *backend.Conn, err error) {
	e := Event{Kind: Started, Project: spec.Project, Server: spec.Server, Took: time.Since(began), Err: err}
	if err != nil {
		e.Kind = NotStarted
	} else {
		e.Sandbox = conn.Sandbox()
	}
	f.tell(e)
}

// tellRestart tells of an instance that took the place of one that had ended by itself.
func (f *Fleet) tellRestart(spec *Spec, conn *backend.Conn) {
	f.tell(Event{Kind: Restarted, Project: spec.Project, Server: spec.Server, Sandbox: conn.Sandbox()})
}

func (f *Fleet) ended(conn *backend.Conn) {
	end := conn.End()
	f.tell(Event{
		Kind: Ended, Project: conn.Project(), Server: conn.Server(), Sandbox: conn.Sandbox(),
		Cause: end.Cause, Failed: end.Failed, Lost: conn.Lost(), Err: end.Err,
	})
}

// Rows lists the places where instances ended by themselves of late: how often in a row,
// when the next may be started, and whether it is a crash loop.
func (f *Fleet) Rows() []breaker.Row { return f.restarts.Rows() }

// Waiting is how many callers wait for an instance to start, by server; those without
// any are not in it.
func (f *Fleet) Waiting() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make(map[string]int, len(f.waits))
	maps.Copy(all, f.waits)
	return all
}

// stepStart is the wait of a call for an instance to be started and initialised.
const stepStart = "start sandbox"

// begin tells that a caller begins to wait for an instance. What it returns must be
// called with what came of it.
func (f *Fleet) begin(ctx context.Context, server, why string) (end func(error)) {
	f.wait(server, 1)
	step := telemetry.Step(ctx, stepStart, "server", server, "reason", why)
	return func(err error) {
		step(err)
		f.wait(server, -1)
	}
}

func (f *Fleet) wait(server string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waits[server] += n; f.waits[server] == 0 {
		delete(f.waits, server)
	}
}
