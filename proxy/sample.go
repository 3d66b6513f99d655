package proxy

import (
	"context"
	"errors"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/health"
	"mcpgateway/runtime/control"
)

// CheckHealth watches the instances that have nothing to do, until ctx ends.
func (p *Proxy) CheckHealth(ctx context.Context) error {
	return p.fleet.CheckHealth(ctx, p.daemon, func() *policy.Health {
		if current := p.current.Load(); current != nil {
			return current.Policy.Health
		}
		return nil
	})
}

// HealthChecks is how the checks of each server's instances have ended.
func (p *Proxy) HealthChecks() []health.Count { return p.fleet.HealthChecks() }

// sampleEvery is how often the daemon is asked what its sandboxes use.
const sampleEvery = 5 * time.Second

// Sample tells those who watch of what runs, until ctx ends.
func (p *Proxy) Sample(ctx context.Context) error {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			p.sample(ctx, now)
		case <-ctx.Done():
			return nil
		}
	}
}

func (p *Proxy) sample(ctx context.Context, now time.Time) {
	running, err := p.daemon.List(ctx)
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, control.ErrClosed) {
			p.log.Warn("what the servers use is not known at the moment", "err", err)
		}
		return
	}
	for _, w := range p.memory.watchers() {
		w.Sample(now, running)
	}
}
