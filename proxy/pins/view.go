package pins

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"mcpgateway/policy"
)

// View is a Registry under one generation of the configuration: what is approved, and
// what follows if something is not. It is immutable; its methods may be called
// concurrently, also while a newer View is in force.
type View struct {
	registry *Registry
	lock     Lock
	digests  map[string]Digest // of each server's part of the lock
	modes    map[string]policy.PinMode
}

// View returns the registry under a generation, and forgets what that one settles.
// modes has every server of the generation.
func (r *Registry) View(lock Lock, modes map[string]policy.PinMode) *View {
	v := &View{registry: r, lock: lock, digests: map[string]Digest{}, modes: maps.Clone(modes)}
	for server := range modes {
		v.digests[server] = lock.digest(server)
	}
	r.keep(v)
	return v
}

// digest tells apart what may be approved of a server.
func (l Lock) digest(server string) Digest {
	hash := sha256.New()
	for _, tool := range slices.Sorted(maps.Keys(l[server])) {
		entry := l[server][tool]
		fmt.Fprintf(hash, "%q %s %d\n", tool, entry.SHA256, entry.Approved.UnixNano())
	}
	return Digest(hash.Sum(nil))
}

// Mode is what follows at a server from tools that are not approved.
func (v *View) Mode(server string) policy.PinMode { return cmp.Or(v.modes[server], policy.PinsOff) }

// Approved gives the entries of a server by tool. They must not be changed.
func (v *View) Approved(server string) map[string]Entry { return v.lock[server] }

// BlockedError says that a tool of a server may not be called.
type BlockedError struct {
	Server, Tool string
	Why          string // a sentence for the caller
}

func (e *BlockedError) Error() string {
	return fmt.Sprintf("tool %.100q of server %.100q is blocked: %s", e.Tool, e.Server, e.Why)
}

// Filter takes note of one definition that a server lists, raw and checked as a part of
// a message is, before anything in it was changed. It reports whether callers may see it.
func (v *View) Filter(server string, definition []byte) (keep bool) {
	mode := v.Mode(server)
	if mode == policy.PinsOff {
		return true
	}
	name, ok := NameOf(definition)
	if !ok {
		return mode != policy.PinsBlock
	}
	kind, event := v.observe(server, name, DigestOf(definition))
	if event != nil {
		v.registry.report(*event)
	}
	return kind == OK || mode != policy.PinsBlock
}

// Judge says what a definition is that a server lists, without taking note of it.
func (v *View) Judge(server string, definition []byte) Kind {
	name, _ := NameOf(definition)
	o := v.registry.server(server)
	o.mu.Lock()
	defer o.mu.Unlock()
	return v.judgeLocked(o, server, name, DigestOf(definition))
}

// judgeLocked is the one place where it is decided. o.mu must be held.
func (v *View) judgeLocked(o *observed, server, tool string, seen Digest) Kind {
	entry, locked := v.lock[server][tool]
	if !locked {
		return New
	}
	if m, marked := o.marks[tool]; entry.SHA256 != seen || marked && !m.over(entry) {
		return Changed
	}
	return OK
}

// observe takes note of a tool. There is an event if it was not told before.
func (v *View) observe(server, tool string, seen Digest) (Kind, *Event) {
	o := v.registry.server(server)
	o.mu.Lock()
	if o.flight != nil && len(o.flight.names) < maxNames {
		o.flight.names[tool] = true
	}
	kind := v.judgeLocked(o, server, tool, seen)
	entry, locked := v.lock[server][tool]
	if m, marked := o.marks[tool]; marked {
		m.seen = seen // also if it is the approved one again
		o.marks[tool] = m
	} else if locked && kind == Changed {
		o.marks[tool] = mark{entry.id(), seen}
	}
	first := kind != OK && seen != entry.SHA256 && o.firstLocked(told{kind, tool, entry.SHA256, seen})
	o.mu.Unlock()
	if !first {
		return kind, nil
	}
	return kind, &Event{server, tool, kind, entry.SHA256, seen, v.Mode(server) == policy.PinsBlock}
}

// Check says whether a tool may be called: nil, a *BlockedError, or why the server's
// tools could not be looked at. In mode block it has the server list them, by list, if
// they were not listed for a minute or are said to have changed since; one of those who
// wait does it at a time. list must bring every definition before Filter.
func (v *View) Check(ctx context.Context, server, tool string, list func(context.Context) error) error {
	if v.Mode(server) != policy.PinsBlock {
		return nil
	}
	entry, locked := v.lock[server][tool]
	if !locked {
		return &BlockedError{server, tool, "it is not approved: an operator can approve it (mcp-gateway tools approve)"}
	}
	o := v.registry.server(server)
	if err := v.refresh(ctx, o, server, list); err != nil {
		return fmt.Errorf("look at the tools of server %q before a call: %w", server, err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if m, marked := o.marks[tool]; marked && !m.over(entry) {
		return &BlockedError{server, tool, "its definition is not the one that was approved: an operator can compare and approve it (mcp-gateway tools approve)"}
	}
	return nil
}

// refresh returns when there is a listing that counts.
func (v *View) refresh(ctx context.Context, o *observed, server string, list func(context.Context) error) error {
	for {
		o.mu.Lock()
		if v.freshLocked(o, server) {
			o.mu.Unlock()
			return nil
		}
		f := o.flight
		if f == nil {
			f = &flight{done: make(chan struct{}), names: map[string]bool{}}
			o.flight = f
			before := o.changes
			o.mu.Unlock()
			return v.fly(ctx, o, server, f, before, list)
		}
		o.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if f.err != nil && !f.gone {
			return f.err
		}
	}
}

func (v *View) freshLocked(o *observed, server string) bool {
	return !o.at.IsZero() && v.registry.now().Sub(o.at) < maxAge && o.under == v.digests[server]
}

// errUnfinished is what others hear if list panics.
var errUnfinished = errors.New("the listing did not end")

// fly lists for all who wait.
func (v *View) fly(ctx context.Context, o *observed, server string, f *flight, before uint64, list func(context.Context) error) error {
	f.err = errUnfinished
	began := v.registry.now()
	defer func() {
		o.mu.Lock()
		o.flight = nil
		if f.err == nil && o.changes == before {
			o.at, o.under = began, v.digests[server]
		}
		o.mu.Unlock()
		close(f.done)
	}()
	f.err = list(ctx)
	f.gone = ctx.Err() != nil
	if f.err == nil {
		v.missing(o, server, f)
	}
	return f.err
}

// missing tells of approved tools that a whole listing did not have.
func (v *View) missing(o *observed, server string, f *flight) {
	var events []Event
	o.mu.Lock()
	if len(f.names) < maxNames {
		for tool, entry := range v.lock[server] {
			if !f.names[tool] && o.firstLocked(told{Gone, tool, entry.SHA256, Digest{}}) {
				events = append(events, Event{Server: server, Tool: tool, Kind: Gone, Approved: entry.SHA256})
			}
		}
	}
	o.mu.Unlock()
	for _, e := range events {
		v.registry.report(e)
	}
}

// Forget says that what a server listed may be true no more: it said so, or there is
// a new instance of it. What was seen of its tools stays.
func (v *View) Forget(server string) {
	o := v.registry.server(server)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.at = time.Time{}
	o.changes++
}
