package backend

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Running is an instance that runs, whoever it belongs to.
type Running struct {
	Project, Server, Sandbox string
	Began                    time.Time
	InFlight                 int
	Queued                   int  // messages that it has not read yet
	Leaving                  bool // it takes no more calls
	State                    State
}

// State is where an instance is in its life.
type State string

// The states.
const (
	Starting State = "starting" // it has not said yet who it is
	Spare    State = "spare"    // started ahead, and nobody's
	Serving  State = "running"
	Draining State = "draining" // it serves the calls that it has, and takes no more
)

func (c *Conn) state() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.greeted.Load() && !c.held:
		return Starting
	case c.ended != nil || c.draining != nil:
		return Draining
	case c.held:
		return Spare
	}
	return Serving
}

// Running lists the instances of all servers, sorted by server and age.
func (p *Pool) Running() []Running {
	p.mu.Lock()
	list := make([]Running, 0, len(p.conns))
	for conn := range p.conns {
		list = append(list, Running{
			conn.spec().Project, conn.spec().Server, conn.files.Sandbox, conn.started, conn.InFlight(), conn.outbox.len(), conn.Leaving(), conn.state(),
		})
	}
	p.mu.Unlock()
	slices.SortFunc(list, func(a, b Running) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), a.Began.Compare(b.Began), cmp.Compare(a.Sandbox, b.Sandbox))
	})
	return list
}

// Drain has the instances of a server, but for some, take no more calls and end with
// those that they have, for a cause that their callers are told. It returns how many.
func (p *Pool) Drain(server string, cause error, but map[*Conn]bool) (draining int) {
	p.mu.Lock()
	conns := slices.Collect(maps.Keys(p.conns))
	p.mu.Unlock()
	for _, conn := range conns {
		if conn.spec().Server == server && !but[conn] && !conn.Leaving() {
			conn.Drain(cause)
			draining++
		}
	}
	return draining
}
