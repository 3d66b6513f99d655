package gate

import (
	"cmp"
	"context"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/audit"
	"mcpgateway/policy/ratelimit"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/telemetry"
)

// identified begins a record about a caller.
func identified(o Origin, caller *policy.Identity, now time.Time) audit.Record {
	return audit.Record{
		Time: now, Correlation: o.Correlation, Transport: o.Transport, Source: o.Source,
		Subject: caller.Subject, User: cmp.Or(caller.User, caller.Key, caller.Certificate), Method: caller.Method,
	}
}

// Enter is Authorize for a front that asks before it reads anything of a request. What
// it refuses is audited.
func (g *Gate) Enter(ctx context.Context, from Origin, caller *policy.Identity, scope policy.Scope) error {
	err := g.Authorize(caller, scope)
	if err != nil {
		if from.Correlation == "" {
			from.Correlation = g.sessions.correlations.Next()
		}
		g.note(ctx, &Request{Origin: from, Caller: caller, Scope: scope}, err)
	}
	return err
}

// turnedAway tells the observers of a refusal at the door.
func (g *Gate) turnedAway(from Origin, scope policy.Scope, err error) {
	for _, o := range g.rules.Observers {
		if o, ok := o.(telemetry.Doorkeeper); ok {
			o.Refused(telemetry.Refusal{Correlation: from.Correlation, Transport: from.Transport, Reason: statusOf(err), Scope: scope})
		}
	}
}

// note tells the observers and the audit log of a message that was refused at the door.
func (g *Gate) note(ctx context.Context, r *Request, err error) {
	g.turnedAway(r.Origin, r.Scope, err)
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
	var w wants
	w.parse(r.Message)
	record.Event, record.Decision = audit.EventDenied, audit.Deny
	record.Project, record.Server, record.MCPMethod, record.Name = r.Scope.Project, r.Scope.Server, w.method, w.name()
	record.Status, record.Reason, record.BytesIn = statusOf(err), err.Error()+likeIt(suppressed), int64(len(r.Message.Raw()))
	slot.Write(&record)
}

// overLimit bounds the records of callers that do too much, for they would write them
// as fast as they can send. It is nil for any other refusal.
func (g *Gate) overLimit(err error) *flood {
	if !limited(err) {
		return nil
	}
	return g.sessions.limited
}

// keep makes a call, if there is one, hold its caller's place at the door until it is
// over.
func keep(place ratelimit.Pass, call link.Call) link.Call {
	switch {
	case call == nil:
		place.Leave()
		return nil
	case place == ratelimit.Pass{}:
		return call
	}
	return &ending{Call: call, place: place}
}
