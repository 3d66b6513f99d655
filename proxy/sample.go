package proxy

import (
	"context"
	"time"
)

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
		if ctx.Err() == nil {
			p.log.Warn("what the servers use is not known at the moment", "err", err)
		}
		return
	}
	for _, w := range p.memory.watchers() {
		w.Sample(now, running)
	}
}
