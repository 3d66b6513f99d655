package fleet

import (
	"context"
	"slices"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/breaker"
	"mcpgateway/proxy/health"
)

// CheckHealth asks instances that have nothing to do whether they are well, until ctx
// ends, and gives up those that are not. rules gives the rules of the time; nil: nobody
// is asked.
func (f *Fleet) CheckHealth(ctx context.Context, daemon health.Lister, rules func() *policy.Health) error {
	return f.health.Run(ctx, daemon, rules)
}

// HealthChecks is how the checks of each server's instances have ended.
func (f *Fleet) HealthChecks() []health.Count { return f.health.Counts() }

// patients are the fleet's instances as they are watched.
type patients struct{ *Fleet }

func (p patients) Conns() []*backend.Conn { return p.pool.Conns() }

// GiveUp ends an instance that is not well. It counts as one that has failed, and if it
// was not for one caller alone another is started at once.
func (p patients) GiveUp(conn *backend.Conn, why string) {
	spec := p.known(conn.Server())
	p.mu.Lock()
	place, held := p.placeLocked(conn)
	ahead := p.spareOfLocked(conn)
	p.mu.Unlock()
	cause := conn.GiveUp(why)
	if spec == nil {
		return
	}
	ahead = ahead || spec.Instances == policy.InstancesShared
	if held {
		p.breakers.Failed(place, spec.Breaker, cause) // its end counts for the restarts
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if ahead && spec.Warm == 0 && !p.closed { // else KeepWarm sees to it
		p.running.Go(func() {
			if p.pause(p.ctx, spareOf(spec.Server), spec) == nil {
				p.hold(spec)
			}
		})
	}
}

// placeLocked is the place that an instance fills; ok is false for one that is a
// session's own, or nobody's yet. f.mu must be held.
func (f *Fleet) placeLocked(conn *backend.Conn) (at breaker.Place, ok bool) {
	for _, s := range f.slots {
		if i := s.running(); i != nil && i.conn == conn {
			return i.place, true
		}
	}
	return breaker.Place{}, false
}

func (f *Fleet) spareOfLocked(conn *backend.Conn) bool {
	s := f.spares[conn.Server()]
	return s != nil && slices.ContainsFunc(s.have, func(i *instance) bool { return i.conn == conn })
}
