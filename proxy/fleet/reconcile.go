package fleet

import (
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/mcp"
)

// Reconcile says which servers there are from now on. Instances that were started from
// what is no more in force get no new calls, and end when those in flight have; those
// of sessions end their session with it. The others go on as they are. Spare instances
// are replaced, and there are as many as each server wants.
func (f *Fleet) Reconcile(specs map[string]*Spec) {
	servers := make(map[string]backend.Spec, len(specs))
	for name, spec := range specs {
		servers[name] = spec.Spec
	}
	f.specs.Store(&specs)
	f.eras.keep(specs)
	f.lineups.Clear()
	held := f.held()
	f.pool.Reconcile(servers)
	f.KeepWarm(specs)
	for _, server := range held {
		if spec, ok := specs[server]; ok && spec.Warm == 0 { // else KeepWarm sees to it
			f.running.Go(func() { f.hold(spec) })
		}
	}
}

// held are the servers of the spare instances that nobody keeps up, once for each.
func (f *Fleet) held() (servers []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for server, s := range f.spares {
		for _, spare := range s.have {
			if !spare.conn.Leaving() {
				servers = append(servers, server)
				break
			}
		}
	}
	return servers
}

// hold starts a spare instance if there is none.
func (f *Fleet) hold(spec *Spec) {
	f.mu.Lock()
	missing := !f.closed && !f.hasSpareLocked(spec.Server)
	f.mu.Unlock()
	if !missing {
		return
	}
	if err := f.Warm(f.ctx, spec); err != nil {
		f.log.Warn("instance not started ahead", "server", spec.Server, "err", err)
	}
}

func (f *Fleet) hasSpareLocked(server string) bool {
	s := f.spares[server]
	if s == nil {
		return false
	}
	for _, spare := range s.have {
		if !spare.conn.Leaving() {
			return true
		}
	}
	return false
}

// setAsideLocked keeps in mind an instance that drains when another takes its place.
// f.mu must be held.
func (f *Fleet) setAsideLocked(k key) {
	if s := f.slots[k]; s != nil && s.draining() {
		f.before[s] = k
	}
}

// draining reports whether the slot's instance has calls, but takes no more.
func (s *slot) draining() bool {
	select {
	case <-s.ready:
		return s.err == nil && s.instance.conn.Leaving() && s.instance.conn.Err() == nil
	default:
		return false
	}
}

// waiting is the instance which waits for the input that a request brings, if it is one
// that drains.
func (f *Fleet) waiting(server string, owner Owner, request mcp.Message) *instance {
	f.mu.Lock()
	var candidates []*instance
	for s, k := range f.before {
		if k.server == server && s.draining() {
			candidates = append(candidates, s.instance)
		}
	}
	for k, s := range f.slots {
		if k.server == server && s.draining() {
			candidates = append(candidates, s.instance)
		}
	}
	f.mu.Unlock()
	for _, i := range candidates {
		if asker, ok := i.server.(interface {
			Awaits(owner string, request mcp.Message) bool
		}); ok && asker.Awaits(owner.String(), request) {
			return i
		}
	}
	return nil
}
