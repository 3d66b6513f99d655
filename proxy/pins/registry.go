// Package pins compares the tools that servers list with those that an operator has
// approved, by the digest of their whole definitions. A server that once showed another
// definition of a tool is not believed again, whoever it shows it to and whatever it
// lists afterwards, until an operator approves that tool anew. Tools are pinned, and
// nothing else that servers list. The package asks no server itself, and blocks nothing
// but by its answers.
//
// Runs in: proxy; CLI (lock files, digests).
package pins

import (
	"maps"
	"sync"
	"time"
)

// Bounds of what is remembered of a server, beside its part of the lock.
const (
	maxTold  = 1000        // differences that were reported
	maxAge   = time.Minute // of a listing before a call
	maxNames = 10_000      // of one listing
)

// Kind says how a tool differs from what is approved.
type Kind string

// The kinds. A tool that is gone is told of, and never blocked.
const (
	OK      Kind = "approved"
	Changed Kind = "changed"
	New     Kind = "new"
	Gone    Kind = "gone"
)

// Event is a difference that was not seen before. Tool is as the server wrote it:
// untrusted, and of any length.
type Event struct {
	Server, Tool   string
	Kind           Kind
	Approved, Seen Digest // zero: none
	Blocked        bool   // it is kept from callers
}

// Registry is what was seen of all servers, for as long as the process lives. Its
// methods may be called concurrently.
type Registry struct {
	report func(Event)
	now    func() time.Time

	mu      sync.Mutex
	servers map[string]*observed
}

// NewRegistry returns a registry that has seen nothing. report is called once for each
// difference, without any lock, by whoever saw it.
func NewRegistry(report func(Event)) *Registry {
	return &Registry{report: report, now: time.Now, servers: map[string]*observed{}}
}

// observed is what was seen of one server.
type observed struct {
	mu      sync.Mutex
	marks   map[string]mark // by tool; of tools in the lock only
	told    map[told]bool
	at      time.Time // of the last whole listing; zero: none that counts
	under   Digest    // what was approved of the server then
	changes uint64    // how often the listing was said to be out of date
	flight  *flight   // the listing under way, nil for none
}

// mark says that a tool was seen with another definition than the approved one.
type mark struct {
	entry entryID // what was approved then
	seen  Digest  // last
}

// entryID tells approvals apart, also of the same definition.
type entryID struct {
	digest Digest
	at     int64
}

func (e Entry) id() entryID { return entryID{e.SHA256, e.Approved.UnixNano()} }

// told is a difference that was reported.
type told struct {
	kind           Kind
	tool           string
	approved, seen Digest
}

// flight is a listing under way.
type flight struct {
	done  chan struct{} // closed when err is set
	err   error
	gone  bool // its caller has gone: err says nothing of the server
	names map[string]bool
}

func (r *Registry) server(name string) *observed {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.servers[name]
	if o == nil {
		o = &observed{marks: map[string]mark{}, told: map[told]bool{}}
		r.servers[name] = o
	}
	return o
}

// keep forgets servers that a generation does not have, and marks whose tools were
// approved anew.
func (r *Registry) keep(v *View) {
	r.mu.Lock()
	maps.DeleteFunc(r.servers, func(name string, _ *observed) bool { return v.modes[name] == "" })
	kept := maps.Clone(r.servers)
	r.mu.Unlock()
	for name, o := range kept {
		o.mu.Lock()
		maps.DeleteFunc(o.marks, func(tool string, m mark) bool {
			entry, locked := v.lock[name][tool]
			return !locked || m.over(entry)
		})
		if o.under != v.digests[name] {
			clear(o.told)
		}
		o.mu.Unlock()
	}
}

// over reports whether an operator has approved, since the mark was made, what was seen
// last.
func (m mark) over(entry Entry) bool { return entry.id() != m.entry && entry.SHA256 == m.seen }

// firstLocked reports whether a difference was not told before, and notes it. o.mu must
// be held. A server can make up any number of tools: those over the bound are not told.
func (o *observed) firstLocked(t told) bool {
	if len(t.tool) > maxToldName {
		t.tool = t.tool[:maxToldName]
	}
	if o.told[t] || len(o.told) >= maxTold {
		return false
	}
	o.told[t] = true
	return true
}

// maxToldName bounds what is remembered of a name.
const maxToldName = 200
