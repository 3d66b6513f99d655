package fleet

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"strconv"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/link"
	"mcpgateway/runtime/control"
)

var errShutdown = errors.New("the gateway is shutting down")

// key is what an instance is found by. What its client offered the server is part
// of it, since the handshake era says that once for all calls.
type key struct {
	server, owner string
	offered       backend.Capabilities
}

// slot is an instance that is there or on its way.
type slot struct {
	subject  string        // whose it is; "" if it is shared
	ready    chan struct{} // closed when instance or err is set
	instance *instance
	err      error
}

// acquire returns the instance that serves an owner. It is started if there is
// none.
func (f *Fleet) acquire(ctx context.Context, spec *Spec, owner Owner, offered backend.Capabilities) (*instance, error) {
	spec = f.newest(spec)
	if running := f.quick(spec, owner); running != nil {
		return running, nil
	}
	s := f.slot(ctx, spec, owner, offered)
	select {
	case <-s.ready:
		return s.instance, s.err
	default:
	}
	end := f.begin(ctx, spec.Server, "call")
	select {
	case <-s.ready:
		end(s.err)
		return s.instance, s.err
	case <-ctx.Done():
		end(context.Cause(ctx))
		return nil, context.Cause(ctx)
	}
}

// slot returns the slot of an owner, a new one if the instance in it has ended. What
// starts is logged as that of ctx.
func (f *Fleet) slot(ctx context.Context, spec *Spec, owner Owner, offered backend.Capabilities) *slot {
	shared := spec.Instances == policy.InstancesShared
	if shared || f.eras.of(spec.program()).get() == stateless {
		// What a shared instance asks can't be put to the right one of its callers, and
		// in the stateless era each request says what it offers.
		offered = 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	k := key{server: spec.Server, offered: offered}
	if shared {
		k.owner = f.replicaLocked(spec, owner)
		defer f.lineUpLocked(spec)
	} else {
		k.owner = ownerKey(spec, owner)
	}
	if s := f.slots[k]; s != nil && !s.over() {
		return s
	}
	return f.claimLocked(ctx, spec, k, owner.Subject)
}

// claimLocked returns a new slot, for a caller or for all who share it. What starts is
// logged as that of ctx. f.mu must be held.
func (f *Fleet) claimLocked(ctx context.Context, spec *Spec, k key, subject string) *slot {
	shared := spec.Instances == policy.InstancesShared
	f.noticeLocked(f.slots[k], spec)
	f.setAsideLocked(k)
	s := &slot{ready: make(chan struct{})}
	if !shared {
		s.subject = subject
	}
	switch resting := f.resting(placeOf(k, subject), spec); {
	case f.closed:
		s.err = errShutdown
	case resting != nil:
		s.err = resting
	case !shared && !f.roomLocked(spec, subject):
		s.err = fmt.Errorf("start server %q: all %d instances that one caller may have are in use: %w", spec.Server, spec.MaxPerCaller, link.ErrBusy)
	}
	if s.err != nil {
		close(s.ready)
		return s
	}
	f.slots[k] = s
	if spare := f.spareLocked(spec.Server, k.offered); spare != nil {
		s.instance = spare
		spare.place = placeOf(k, s.subject)
		f.mendLocked(spare, spec)
		close(s.ready)
		f.running.Go(func() { f.sweep(spec, k, s) })
		return s
	}
	// Others wait for it too: it does not end with the request that came first.
	correlated := control.WithCorrelation(f.ctx, control.Correlation(ctx))
	f.running.Go(func() { f.fill(correlated, spec, k, s) })
	return s
}

// roomLocked reports whether a caller may have one instance more. For one over the
// limit it ends the caller's own that was idle for longest: who uses many servers,
// or offers each of them different things, must leave room for others. f.mu must be
// held.
func (f *Fleet) roomLocked(spec *Spec, subject string) bool {
	own := 0
	var idlest key
	var since time.Time
	for k, s := range f.slots {
		if s.subject != subject || s.over() {
			continue
		}
		own++
		if at, idle := s.idleSince(); idle && (since.IsZero() || at.Before(since)) {
			idlest, since = k, at
		}
	}
	if spec.MaxPerCaller == 0 || own < spec.MaxPerCaller {
		return true
	}
	if since.IsZero() {
		return false
	}
	f.slots[idlest].instance.conn.Discard()
	delete(f.slots, idlest)
	return true
}

// idleSince is since when the slot's instance has had nothing to do.
func (s *slot) idleSince() (at time.Time, idle bool) {
	select {
	case <-s.ready:
		return s.instance.conn.IdleSince()
	default:
		return time.Time{}, false
	}
}

func (f *Fleet) fill(ctx context.Context, spec *Spec, k key, s *slot) {
	at := placeOf(k, s.subject)
	if s.err = f.pause(ctx, at, spec); s.err == nil {
		s.instance, s.err = f.start(ctx, spec, k.offered)
	}
	if s.err != nil {
		f.failed(at, spec, s.err)
		f.remove(k, s)
		close(s.ready)
		return
	}
	f.mu.Lock()
	s.instance.place = at
	f.mendLocked(s.instance, spec)
	f.mu.Unlock()
	k = f.settle(spec, k, s)
	close(s.ready)
	f.sweep(spec, k, s)
}

// settle puts the first instance of a program where others will look for it, now
// that its era is known.
func (f *Fleet) settle(spec *Spec, k key, s *slot) key {
	if k.offered == 0 || f.eras.of(spec.program()).get() != stateless {
		return k
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	all := key{k.server, k.owner, 0}
	if f.slots[all] == nil && f.slots[k] == s {
		delete(f.slots, k)
		f.slots[all] = s
		return all
	}
	return k
}

// sweep forgets a slot when its instance has ended.
func (f *Fleet) sweep(spec *Spec, k key, s *slot) {
	<-s.instance.conn.Done()
	f.over(s.instance, spec) // before the next comes to the place
	f.remove(k, s)
}

func (f *Fleet) remove(k key, s *slot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.before, s)
	if f.slots[k] == s {
		delete(f.slots, k)
	}
}

// over reports whether the slot's instance takes no more calls.
func (s *slot) over() bool {
	select {
	case <-s.ready:
		return s.err != nil || s.instance.conn.Leaving()
	default:
		return false
	}
}

// busy is how many calls the slot's instance has in flight; one that starts has
// somebody who waits for it.
func (s *slot) busy() int {
	select {
	case <-s.ready:
		return s.instance.conn.InFlight()
	default:
		return 1
	}
}

// ownerKey says who shares an instance that is not shared by all.
func ownerKey(spec *Spec, owner Owner) string {
	if owner.Session != "" && spec.Instances != policy.InstancesPerIdentity {
		return "session:" + owner.Session
	}
	return "identity:" + owner.Subject
}

func replicaKey(i int) string { return "replica:" + strconv.Itoa(i) }

// replicaLocked chooses the replica of a shared server for a request. f.mu must be
// held.
func (f *Fleet) replicaLocked(spec *Spec, owner Owner) string {
	replicas := f.usableLocked(spec)
	switch spec.Strategy {
	case policy.StrategyRoundRobin:
		turn := f.turnsLocked(spec.Server).Add(1)
		return replicaKey(replicas[int(turn%int64(len(replicas)))])
	case policy.StrategyConsistentHash:
		return replicaKey(rendezvous(owner.Subject, replicas))
	}
	best, least := replicas[0], int(^uint(0)>>1)
	unused := -1
	for _, i := range replicas {
		s := f.slots[key{server: spec.Server, owner: replicaKey(i)}]
		switch {
		case s == nil || s.over():
			if unused < 0 {
				unused = i
			}
		case s.busy() < least:
			best, least = i, s.busy()
		}
	}
	if unused >= 0 && least > 0 { // all that run have something to do
		return replicaKey(unused)
	}
	return replicaKey(best)
}

// weights are other ones in each proxy, with which shared instances end.
var weights = maphash.MakeSeed()

// rendezvous keeps an identity on its replica when others come or go, but for those
// that must move (highest random weight).
func rendezvous(subject string, replicas []int) (best int) {
	var highest uint64
	text := make([]byte, 0, 128)
	for _, i := range replicas {
		text = append(append(append(text[:0], replicaKey(i)...), 0), subject...)
		if weight := maphash.Bytes(weights, text); weight >= highest {
			best, highest = i, weight
		}
	}
	return best
}

// End ends the instances that are a session's alone, which is over.
func (f *Fleet) End(session string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed { // all end
		return
	}
	for s, k := range f.before {
		if k.owner == "session:"+session {
			s.instance.conn.Discard()
		}
	}
	for k, s := range f.slots {
		if k.owner != "session:"+session {
			continue
		}
		delete(f.slots, k)
		f.running.Go(func() {
			<-s.ready
			if s.instance != nil {
				s.instance.conn.Discard()
			}
		})
	}
}
