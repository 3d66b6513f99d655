package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"mcpgateway/runtime/control"
)

// Vitals is what a proxy that works has at the moment.
type Vitals struct {
	Servers, Instances, Sessions int
	NotReady                     error // why it can't serve everybody; nil: it can
}

// Alive looks at what calls pass: it takes the locks that they take, and returns only
// once it has had all of them. A daemon that does not answer while ctx lasts is no fault of
// the proxy's, unless a policy is being applied: the answer is behind it.
func (p *Proxy) Alive(ctx context.Context) (Vitals, error) {
	var silent error
	if _, err := p.daemon.List(ctx); err != nil && !errors.Is(err, control.ErrClosed) { // else there is none, and the proxy waits for it
		if p.applying.Load() {
			return Vitals{}, fmt.Errorf("a policy is still being applied: %w", err)
		}
		silent = fmt.Errorf("the daemon does not answer: %w", err)
	}
	p.fleet.States()
	return Vitals{Servers: len(p.servers()), Instances: len(p.fleet.Running()), Sessions: p.sessions.Count(), NotReady: cmp.Or(silent, p.ready())}, nil
}
