package catalog

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"
)

// Bounds of what is remembered of all servers for all owners.
const (
	maxRemembered      = 8192
	maxRememberedBytes = 64 << 20
)

// Lists remembers what servers list: for each owner by itself, because a server may
// list different things to different callers.
type Lists struct {
	wait     time.Duration // for a server's answer
	grace    time.Duration // for that of a server that was too late the last time
	patience time.Duration // until a request that nobody waits for is given up
	keep     time.Duration // how long a listing serves to find things, at least
	recheck  time.Duration // how old a listing must be to ask again for something that isn't in it

	mu      sync.Mutex
	entries map[key]*list.Element // of *entry
	recent  *list.List            // the last used first
	bytes   int
	watches map[*watch]bool
	flights sync.WaitGroup
}

type key struct {
	owner, server string
	kind          kind
}

// entry is what is known of one list.
type entry struct {
	key     key
	listing *listing // nil if there is none yet
	flight  *flight  // the request under way, nil for none
	late    bool     // the last answer took longer than wait
}

// flight is one request, and all who wait for it.
type flight struct {
	done   chan struct{} // closed when the two below are set
	answer *listing
	err    error

	started time.Time
	cancel  context.CancelFunc
	askers  int  // guarded by Lists.mu
	wanted  bool // somebody has waited long enough to want the answer next time
}

// NewLists returns an empty memory.
func NewLists() *Lists {
	return &Lists{
		wait: 5 * time.Second, grace: time.Second, patience: time.Minute,
		keep: 5 * time.Minute, recheck: 2 * time.Second,
		entries: map[key]*list.Element{}, recent: list.New(), watches: map[*watch]bool{},
	}
}

// Tool returns the definition of a tool of one server as the server lists it, raw;
// nil if it lists no such tool. name is the server's own. fresh asks the server
// even if the list is remembered.
func (l *Lists) Tool(ctx context.Context, owner string, m Member, name string, fresh bool) ([]byte, error) {
	age := l.keep
	if fresh {
		age = -1
	}
	listing, err := l.ask(ctx, question{owner: owner, member: m, kind: tools}, age)
	if listing == nil || (fresh && err != nil) {
		return nil, err
	}
	if i, ok := listing.index[name]; ok {
		return listing.items[i].raw, nil
	}
	return nil, nil
}

// Forget forgets all that a server lists for an owner.
func (l *Lists) Forget(owner, server string) {
	for k := range kinds {
		l.forget(owner, server, k)
	}
}

func (l *Lists) forget(owner, server string, k kind) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.entries[key{owner, server, k}]; ok {
		l.dropLocked(e)
	}
}

// remembered returns what was listed not too long ago, nil for nothing.
func (l *Lists) remembered(owner, server string, k kind) *listing {
	l.mu.Lock()
	defer l.mu.Unlock()
	element, ok := l.entries[key{owner, server, k}]
	if !ok {
		return nil
	}
	l.recent.MoveToFront(element)
	return l.known(element.Value.(*entry))
}

func (l *Lists) known(e *entry) *listing {
	if e.listing == nil || !e.listing.serves(l.keep) {
		return nil
	}
	return e.listing
}

// serves reports whether a listing is at most age old, or true by its server's word.
// A negative age wants another one in any case.
func (l *listing) serves(age time.Duration) bool {
	return age >= 0 && time.Since(l.at) < max(age, l.ttl)
}

// ask returns what a server lists: as remembered if that serves, else asked for.
// Who asks the same shares one request. With an error there may be a listing all the
// same: the one before, or a part.
func (l *Lists) ask(ctx context.Context, q question, age time.Duration) (*listing, error) {
	l.mu.Lock()
	e := l.entryLocked(key{q.owner, q.member.Name, q.kind})
	if known := e.listing; known != nil && known.serves(age) {
		l.mu.Unlock()
		return known, known.over
	}
	if e.flight == nil {
		l.startLocked(ctx, e, q)
	}
	f := e.flight
	f.askers++
	known, wait := l.known(e), l.wait
	if e.late {
		wait = l.grace
	}
	l.mu.Unlock()

	timer := time.NewTimer(wait - time.Since(f.started))
	defer timer.Stop()
	select {
	case <-f.done:
		if f.err != nil {
			return known, f.err
		}
		return f.answer, f.answer.over
	case <-timer.C:
		l.leave(e, f, true)
		return known, fmt.Errorf("it did not answer %s within %s", q.kind.shape().method, wait)
	case <-ctx.Done():
		l.leave(e, f, false)
		return nil, context.Cause(ctx)
	}
}

// leave ends one asker's wait. A request that is late goes on for the next time; one
// whose askers have all gone is cancelled.
func (l *Lists) leave(e *entry, f *flight, late bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.askers--
	f.wanted = f.wanted || late
	e.late = e.late || late
	if f.askers == 0 && !f.wanted {
		f.cancel()
		if e.flight == f { // whoever asks now must not get its end for an answer
			e.flight = nil
		}
	}
}

// startLocked sends the request for e. It outlives ctx.
func (l *Lists) startLocked(ctx context.Context, e *entry, q question) {
	late := fmt.Errorf("it did not answer %s within %s", q.kind.shape().method, l.patience)
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), l.patience, late)
	f := &flight{done: make(chan struct{}), started: time.Now(), cancel: cancel}
	e.flight = f
	l.flights.Go(func() {
		defer cancel()
		f.answer, f.err = fetch(ctx, q)
		l.land(e, f)
	})
}

// land takes in what a request brought, unless it was forgotten meanwhile: then it
// may be older than the change.
func (l *Lists) land(e *entry, f *flight) {
	defer close(f.done)
	l.mu.Lock()
	defer l.mu.Unlock()
	element, ok := l.entries[e.key]
	if e.flight != f || !ok || element.Value.(*entry) != e {
		return
	}
	e.flight = nil
	e.late = time.Since(f.started) >= l.wait
	if f.err != nil {
		return
	}
	if f.wanted && !f.answer.equals(e.listing) {
		l.tellLocked(e.key)
	}
	l.bytes += f.answer.bytes
	if e.listing != nil {
		l.bytes -= e.listing.bytes
	}
	e.listing = f.answer
	l.trimLocked()
}

func (l *Lists) entryLocked(k key) *entry {
	if element, ok := l.entries[k]; ok {
		l.recent.MoveToFront(element)
		return element.Value.(*entry)
	}
	e := &entry{key: k}
	l.entries[k] = l.recent.PushFront(e)
	l.trimLocked()
	return e
}

// trimLocked forgets what was not used for the longest time, but for the last.
func (l *Lists) trimLocked() {
	for l.recent.Len() > 1 && (l.recent.Len() > maxRemembered || l.bytes > maxRememberedBytes) {
		l.dropLocked(l.recent.Back())
	}
}

func (l *Lists) dropLocked(element *list.Element) {
	e := l.recent.Remove(element).(*entry)
	delete(l.entries, e.key)
	if e.listing != nil {
		l.bytes -= e.listing.bytes
	}
}
