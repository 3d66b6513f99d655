package proxy

import (
	"context"
	"fmt"
	"time"
)

// Lost takes note that there is no daemon yet, or that the one is gone whose policy is in
// force, and all instances with it. Sessions and connections stay; until there is another daemon, and Apply has taken its
// policy, what needs a server waits, and then fails. It must be called as Apply is.
func (p *Proxy) Lost(why error) {
	if p.current.Load() == nil {
		p.log.Info("waiting for the daemon", "err", why)
		return
	}
	p.lost = true
	p.warm.Store(false)
	p.log.Warn("the daemon is gone: no server can be started until there is another", "err", why)
}

// returned takes note that there is another daemon.
func (p *Proxy) returned(generation uint64) {
	p.lost = false
	p.log.Info("there is a daemon again", "generation", generation)
	p.memory.metrics.Began(generation)
	p.reloaded.Store(nil)
	select {
	case p.back <- struct{}{}:
	default:
	}
}

// away is what who asks is told while there is no daemon; nil if there is one.
func (p *Proxy) away() error {
	if why := p.daemon.Away(); why != nil {
		return fmt.Errorf("there is no daemon, which starts servers: %w", why)
	}
	return nil
}

// awake is how long a server may take to start again, before the gateway is ready without.
const awake = time.Minute

// StartAgain starts the eager servers again when there is another daemon, until ctx ends.
// One that does not start is logged, and tried again when it is called: the others serve.
func (p *Proxy) StartAgain(ctx context.Context) error {
	for {
		select {
		case <-p.back:
		case <-ctx.Done():
			return nil
		}
		running := map[string]bool{}
		for _, i := range p.fleet.Running() {
			running[i.Server] = running[i.Server] || !i.Leaving
		}
		starting, done := context.WithTimeout(ctx, awake)
		for _, err := range p.warmUp(starting, running) {
			p.log.Error("server not started with the daemon", "err", err)
		}
		done()
		p.warm.Store(true)
	}
}
