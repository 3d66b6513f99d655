package backend

import (
	"cmp"
	"slices"
	"time"
)

// Running is an instance that runs, whoever it belongs to.
type Running struct {
	Server, Sandbox string
	Began           time.Time
	InFlight        int
	Leaving         bool // it takes no more calls
}

// Running lists the instances of all servers, sorted by server and age.
func (p *Pool) Running() []Running {
	p.mu.Lock()
	list := make([]Running, 0, len(p.conns))
	for conn := range p.conns {
		list = append(list, Running{conn.spec().Server, conn.files.Sandbox, conn.began, conn.InFlight(), conn.Leaving()})
	}
	p.mu.Unlock()
	slices.SortFunc(list, func(a, b Running) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), a.Began.Compare(b.Began), cmp.Compare(a.Sandbox, b.Sandbox))
	})
	return list
}
