package gate

import (
	"context"
	"slices"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/audit"
	"mcpgateway/proxy/telemetry"
)

// lasts says that a passage has no end of its own: it may last for days. Its record is
// written now, because the room for it is that of calls; a second one says how it
// ended, if there is room then.
func (p *passage) lasts() {
	p.over = make(chan struct{})
	p.record(p.slot, "listening", "")
	p.slot = audit.Slot{}
	p.makeRoom()
}

// atEnd is the room for the record of the end of a passage that lasted.
func (p *passage) atEnd() audit.Slot {
	close(p.over)
	now, cancel := context.WithCancel(context.Background())
	cancel() // it waits for nothing
	slot, err := p.rules.Audit.Reserve(now)
	if err != nil {
		p.fleet.Log().Warn("the end of a subscription is not in the audit log", "server", p.server, "err", err)
	}
	return slot
}

// follow ends a subscription when a later policy does not let its caller have it.
func (p *passage) follow(call *watched) {
	for g := p.Gate; ; {
		select {
		case <-g.replaced:
		case <-p.over:
			return
		}
		g = p.sessions.latest.Load()
		if err := g.permits(p.caller, p.server, &p.wants); err != nil {
			call.Cancel(err.Error())
			return
		}
	}
}

// permits asks the rules of a gate about a request that was let in under another.
func (g *Gate) permits(caller *policy.Identity, server string, w *wants) error {
	v, err := g.visit(caller, policy.Scope{Server: server})
	if err != nil {
		return err
	}
	again := passage{guard: v.guard, call: telemetry.Call{Started: time.Now()}, wants: wants{asked: slices.Clone(w.asked)}}
	return again.permit()
}
