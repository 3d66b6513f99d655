package gate

import (
	"cmp"
	"context"
	"sync"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/audit"
	"mcpgateway/policy/ratelimit"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// identified begins a record about a caller.
func identified(o Origin, caller policy.Identity, now time.Time) *audit.Record {
	r := &audit.Record{
		Time: now, Correlation: o.Correlation, Transport: o.Transport,
		Subject: caller.Subject, User: cmp.Or(caller.User, caller.Key, caller.Certificate), Method: caller.Method,
	}
	if o.Source.IsValid() {
		r.Source = o.Source.String()
	}
	return r
}

// Enter is Authorize for a front that asks before it reads anything of a request. What
// it refuses is audited.
func (g *Gate) Enter(ctx context.Context, from Origin, caller policy.Identity, scope policy.Scope) error {
	err := g.Authorize(caller, scope)
	if err != nil {
		if from.Correlation == "" {
			from.Correlation = g.sessions.correlations.Next()
		}
		g.note(ctx, Request{Origin: from, Caller: caller, Scope: scope}, err)
	}
	return err
}

// note tells the audit log of a message that was refused at the door.
func (g *Gate) note(ctx context.Context, r Request, err error) {
	if g.rules.Audit == nil {
		return
	}
	suppressed, tell := g.overLimit(err).tell()
	if !tell {
		return
	}
	slot, reserved := g.rules.Audit.Reserve(ctx)
	if reserved != nil {
		return // refused it is in any case
	}
	record := identified(r.Origin, r.Caller, time.Now())
	w := parse(r.Message)
	record.Event, record.Decision = audit.EventDenied, audit.Deny
	record.Project, record.Server, record.MCPMethod, record.Name = r.Scope.Project, r.Scope.Server, w.method, w.name()
	record.Status, record.Reason, record.BytesIn = statusOf(err), err.Error()+likeIt(suppressed), int64(len(r.Message.Raw()))
	slot.Write(record)
}

// overLimit bounds the records of callers that do too much, for they would write them
// as fast as they can send. It is nil for any other refusal.
func (g *Gate) overLimit(err error) *flood {
	if !limited(err) {
		return nil
	}
	return g.sessions.limited
}

// kept is a call that takes up a place at the door until it is answered.
type kept struct {
	link.Call
	place ratelimit.Pass
	once  sync.Once
}

// keep makes a call, if there is one, hold its caller's place.
func keep(place ratelimit.Pass, call link.Call) link.Call {
	switch {
	case call == nil:
		place.Leave()
		return nil
	case place == ratelimit.Pass{}:
		return call
	}
	return &kept{Call: call, place: place}
}

func (k *kept) Take() []mcp.Message {
	messages := k.Call.Take()
	if answered(messages) {
		k.leave()
	}
	return messages
}

func (k *kept) Cancel(reason string) {
	k.Call.Cancel(reason)
	k.leave()
}

func (k *kept) Detach() {
	k.Call.Detach()
	k.leave()
}

func (k *kept) leave() { k.once.Do(k.place.Leave) }
