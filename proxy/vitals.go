package proxy

import (
	"context"
	"fmt"
)

// Vitals is what a proxy that works has at the moment.
type Vitals struct{ Servers, Instances, Sessions int }

// Alive looks at what calls pass: it takes the locks that they take, and returns only
// once it has had all of them. An error says that the daemon did not answer while ctx
// lasted.
func (p *Proxy) Alive(ctx context.Context) (Vitals, error) {
	if _, err := p.daemon.List(ctx); err != nil {
		return Vitals{}, fmt.Errorf("ask the daemon: %w", err)
	}
	p.fleet.States()
	return Vitals{Servers: len(p.servers()), Instances: len(p.fleet.Running()), Sessions: p.sessions.Count()}, nil
}
