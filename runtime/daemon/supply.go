package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"mcpgateway/images"
	"mcpgateway/runtime/config"
	"mcpgateway/sandbox"
)

// order is what is to be started: a server as a generation has it.
type order struct {
	name, revision string
	server         config.Server
	image          *images.Image
	most           int // instances of all servers
	room           int // sandboxes of all servers, those that are prepared among them
}

// orderOf is the order of a server in a generation.
func (d *Daemon) orderOf(g *generation, name string) order {
	return order{
		name: name, revision: g.revisions[name], server: g.config.Servers[name], image: d.image,
		most: g.config.Gateway.MaxServers,
		// One range of ids is left for what starts while another is being prepared.
		room: min(g.config.Gateway.MaxServers, g.config.Sandbox.UIDPool.Count-1),
	}
}

// supply is the sandboxes that wait for the next opens of a server, and what they are
// prepared by. A server that is opened again before its instances would be idle has one.
// It is guarded by the supervisor's mu.
type supply struct {
	order
	owner  *monitor  // whose open was the last
	opened time.Time // the last time
	often  bool
	failed bool // to be prepared: not before the next open
	ready  []prepared
}

// prepared is a sandbox without a program. It is used once, by an open that would make
// the same now.
type prepared struct {
	*sandbox.Prepared
	likeness likeness
}

// begin starts a sandbox, in one that is prepared if there is such. Its id may be
// another than that of spec.
func (s *supervisor) begin(ctx context.Context, o order, spec sandbox.Spec, stdio sandbox.Stdio) (*sandbox.Sandbox, error) {
	for p, ok := s.take(o); ok; p, ok = s.take(o) {
		if !p.likeness.equals(s.likenessOf(spec)) {
			s.watching.Go(p.Discard)
			continue
		}
		box, err := p.Start(stdio)
		if err == nil {
			return box, nil
		}
		slog.WarnContext(ctx, "prepared sandbox not used", "server", o.name, "err", err)
	}
	s.makeRoom(o.room)
	return s.runtime.Start(spec, stdio)
}

// take returns the oldest that is prepared for an order.
func (s *supervisor) take(o order) (p prepared, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.supplies[o.name]
	if known == nil || known.revision != o.revision || len(known.ready) == 0 {
		return p, false
	}
	p = known.ready[0]
	known.ready = known.ready[1:]
	return p, true
}

// makeRoom has what is prepared make room for what is started.
func (s *supervisor) makeRoom(room int) {
	s.mu.Lock()
	var least *supply
	for _, one := range s.supplies {
		if len(one.ready) > 0 && (least == nil || one.opened.Before(least.opened)) {
			least = one
		}
	}
	if least == nil || s.sandboxesLocked() <= room {
		s.mu.Unlock()
		return
	}
	p := least.ready[0]
	least.ready = least.ready[1:]
	s.mu.Unlock()
	p.Discard()
}

// sandboxesLocked counts those that run, start, or are prepared. s.mu must be held.
func (s *supervisor) sandboxesLocked() int {
	n := len(s.instances) + s.starting
	for _, one := range s.supplies {
		n += len(one.ready)
	}
	return n
}

// noteLocked takes note of an open. s.mu must be held.
func (s *supervisor) noteLocked(owner *monitor, o order) {
	known := s.supplies[o.name]
	if known == nil {
		known = &supply{}
		s.supplies[o.name] = known
	}
	known.often = known.often || time.Since(known.opened) < o.server.IdleTimeout
	if known.revision != o.revision {
		s.discardLocked(known, 0)
	}
	known.order, known.owner, known.opened, known.failed = o, owner, time.Now(), false
}

// discardLocked leaves a number of what is prepared for a server. s.mu must be held.
func (s *supervisor) discardLocked(one *supply, rest int) {
	for len(one.ready) > rest {
		s.watching.Go(one.ready[0].Discard)
		one.ready = one.ready[1:]
	}
}

// settle is how long what was started has the processors for itself.
const settle = 20 * time.Millisecond

// prepareLocked has what is missing be prepared soon, one after the other, and only while
// nothing is started. s.mu must be held.
func (s *supervisor) prepareLocked() {
	if !s.preparing && s.missingLocked() != nil {
		s.preparing = true
		s.watching.Go(func() {
			<-time.After(settle)
			s.prepare()
		})
	}
}

// missingLocked is a server for which a sandbox can be prepared now; nil if there is none.
// s.mu must be held.
func (s *supervisor) missingLocked() *supply {
	if s.closed || s.starting > 0 {
		return nil
	}
	for _, one := range s.supplies {
		if one.often && !one.failed && len(one.ready) < one.server.Prepared && s.sandboxesLocked() < one.room {
			return one
		}
	}
	return nil
}

func (s *supervisor) prepare() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for one := s.missingLocked(); one != nil; one = s.missingLocked() {
		o, id := one.order, s.nextIDLocked(one.name)
		s.mu.Unlock()
		p, err := s.prepareOne(o, id)
		s.mu.Lock()
		switch {
		case err != nil: // the next open tells its caller
			slog.Debug("sandbox not prepared", "server", o.name, "err", err)
			one.failed = true
		case s.closed, s.supplies[o.name] != one, one.revision != o.revision:
			s.watching.Go(p.Discard)
		default:
			one.ready = append(one.ready, p)
		}
	}
	s.preparing = false
}

func (s *supervisor) prepareOne(o order, id string) (p prepared, err error) {
	spec, err := newSpec(id, o.server, o.image)
	defer closeMounts(spec)
	if err != nil {
		return p, err
	}
	p.likeness = s.likenessOf(spec)
	p.Prepared, err = s.runtime.Prepare(spec)
	return p, err
}

// restock discards what is prepared for what is no more in force, or was not opened for
// as long as an instance may be idle.
func (d *Daemon) restock(g *generation) {
	s := d.supervisor
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, one := range s.supplies {
		now := d.orderOf(g, name)
		if now.revision != one.revision || time.Since(one.opened) > now.server.IdleTimeout {
			s.discardLocked(one, 0)
			delete(s.supplies, name)
			continue
		}
		one.order = now
		s.discardLocked(one, now.server.Prepared)
	}
	s.prepareLocked()
}

func (s *supervisor) nextIDLocked(server string) string {
	s.lastID++
	return fmt.Sprintf("%s-%d-%s", server, s.lastID, s.tag)
}
