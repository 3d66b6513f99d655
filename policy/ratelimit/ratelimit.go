// Package ratelimit says whether a request may go on now: by the rates, and by how
// many may be in flight, of the gateway, of its caller, of a project, a server and
// a tool. A request takes of everything that bounds it or of nothing. It does not
// queue and does not wait: who comes too early is told when to come again. What it
// remembers is bounded, whoever comes.
//
// Runs in: proxy.
package ratelimit

import (
	"fmt"
	"sync"
	"time"

	"mcpgateway/policy"
)

// Table is what was taken so far. It outlives configuration generations, so that a
// new one gives nobody a fresh burst.
type Table struct {
	gateway *bucket
	callers *callers

	mu    sync.Mutex
	named map[string]*bucket // of projects, servers and tools
}

// New returns a table of which nothing was taken.
func New() *Table {
	return &Table{gateway: &bucket{}, callers: newCallers(), named: map[string]*bucket{}}
}

// Limits is a table under the limits of one generation. It is immutable.
type Limits struct {
	table   *Table
	gateway bound
	caller  policy.Quota
	servers map[string]server
}

// server is what bounds requests for one server.
type server struct {
	project, server bound
	tools           map[string]bound
}

// Call is a request, and when it came.
type Call struct {
	Subject string // of the caller's identity
	Server  string
	Tool    string // that is called; "" for any other request
	Now     time.Time
	// Unanswered says that it is no request but what has no answer: it takes of the
	// rates, and is never in flight. What cancels a request must not wait for its end.
	Unanswered bool
}

// With returns the table under the limits of a policy. A bucket keeps its level, but
// for what is above its new burst. One that the policy does not name is forgotten.
func (t *Table) With(p *policy.Policy) *Limits {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.named
	t.named = make(map[string]*bucket, len(before))
	find := func(quota policy.Quota, what string) bound {
		if quota.IsZero() {
			return bound{}
		}
		if t.named[what] == nil {
			t.named[what] = before[what]
		}
		if t.named[what] == nil {
			t.named[what] = &bucket{}
		}
		return bound{t.named[what], quota, what}
	}
	l := &Limits{table: t, caller: p.Limits.PerIdentity, servers: make(map[string]server, len(p.Servers))}
	if !p.Limits.Gateway.IsZero() {
		l.gateway = bound{t.gateway, p.Limits.Gateway, "the gateway"}
	}
	for name, s := range p.Servers {
		bounds := server{
			project: find(p.Limits.Projects[s.Project], fmt.Sprintf("project %q", s.Project)),
			server:  find(s.Quota, fmt.Sprintf("server %q", name)),
		}
		for tool, own := range s.Tools {
			if b := find(own.Quota, fmt.Sprintf("tool %q of server %q", tool, name)); b.bucket != nil {
				if bounds.tools == nil {
					bounds.tools = map[string]bound{}
				}
				bounds.tools[tool] = b
			}
		}
		l.servers[name] = bounds
	}
	return l
}

// Enter lets a request in that has come through no door before: it is EnterGateway
// and EnterServer in one, and takes of all of it or of nothing.
func (l *Limits) Enter(c Call) (Pass, error) {
	s := l.of(c)
	return l.enter(c, true, s.project, s.server, s.tools[c.Tool])
}

// EnterGateway lets a request in by what bounds the gateway and the caller, before
// its server is known. What it takes stays taken if EnterServer then refuses.
func (l *Limits) EnterGateway(c Call) (Pass, error) { return l.enter(c, true) }

// EnterServer lets a request that has come in go on to a server, by what bounds the
// project, the server and the tool.
func (l *Limits) EnterServer(c Call) (Pass, error) {
	s := l.of(c)
	return l.enter(c, false, s.project, s.server, s.tools[c.Tool])
}

func (l *Limits) of(c Call) server { return l.servers[c.Server] }

// enter takes of the bounds, and of those of the door too if it is passed. An error
// is an *Error.
func (l *Limits) enter(c Call, door bool, bounds ...bound) (Pass, error) {
	for {
		var all taking
		if door {
			all.add(l.gateway)
			if !l.caller.IsZero() {
				all.add(bound{l.table.callers.find(c.Subject, c.Now), l.caller, "this caller"})
			}
		}
		for _, b := range bounds {
			all.add(b)
		}
		if c.Unanswered {
			all.ignoreFlight()
		}
		pass, lacks, gone := all.take(c.Now)
		switch {
		case gone: // the caller's bucket was forgotten meanwhile, full as it was
		case lacks != nil:
			return Pass{}, lacks
		default:
			return pass, nil
		}
	}
}

// Pass is a request that was let in.
type Pass struct{ held [maxBounds]*bucket }

// Leave gives back its places: the request is not in flight any more. It must be
// called once; more often does nothing.
func (p *Pass) Leave() {
	for i, b := range p.held {
		if b == nil {
			break
		}
		b.leave()
		p.held[i] = nil
	}
}

// Error says which limit a request came to.
type Error struct {
	What       string        // that has the limit: "the gateway", "this caller", `server "x"`
	Limit      policy.Quota  // of it
	Concurrent bool          // too many are in flight, rather than too many a second
	RetryAfter time.Duration // > 0
}

func (e *Error) Error() string {
	if e.Concurrent {
		return fmt.Sprintf("%s may have %d requests in flight at a time: try again when one is answered", e.What, e.Limit.Concurrent)
	}
	return fmt.Sprintf("%s may have %v requests a second, %d at once: try again in %s",
		e.What, e.Limit.Rate.PerSecond, e.Limit.Rate.Burst, max(time.Millisecond, e.RetryAfter.Round(time.Millisecond)))
}
