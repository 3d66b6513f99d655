package gate

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mcpgateway/policy/audit"
	"mcpgateway/policy/ratelimit"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/telemetry"
)

// passage is one request on its way through a guard.
type passage struct {
	*guard
	watched watched // what its caller has of it
	slot    audit.Slot
	place   ratelimit.Pass
	by      *passenger
	wants   wants
	rule    string // that decided
	denied  bool   // and the record says so
	untold  bool   // there is no record
	once    sync.Once
	bytes   atomic.Int64            // of what came back
	served  atomic.Pointer[serving] // once it is known
	first   serving                 // what that is, nearly always
	taken   atomic.Bool             // first is in use
	over    chan struct{}           // of a subscription: closed when it has ended
	call    telemetry.Call          // what observers are told
	ctx     context.Context         //nolint:containedctx // of the passage: observers find their own there
}

// ServedBy takes note of the instance that a request goes to.
func (p *passage) ServedBy(instance string, at time.Time) {
	now := &p.first
	if !p.taken.CompareAndSwap(false, true) {
		now = new(serving)
	}
	*now = serving{instance, at}
	if before := p.served.Load(); before != nil {
		now.since = before.since
	}
	p.served.Store(now)
}

// serving is the instance that has a request.
type serving struct {
	instance string
	since    time.Time // that it, or one before it, has
}

// begin tells the observers of a request.
func (p *passage) begin(ctx context.Context, request mcp.Message, now time.Time) context.Context {
	p.by = passengerOf(ctx)
	p.call = telemetry.Call{
		Correlation: p.by.Correlation, Transport: p.by.Transport, Caller: p.caller, Project: p.project, Server: p.server,
		Method: p.wants.method, Tool: p.wants.tool, Name: p.wants.name(), Revision: p.by.revision, Trace: p.by.Trace, Started: now,
		Request: request, BytesIn: int64(len(request.Raw())),
	}
	if len(p.rules.Observers) > 0 && p.wants.tool != "" {
		p.call.Listed = p.sessions.hints.listed(p.server, p.wants.tool)
	}
	if p.by.Transport == "" {
		p.call.For = causeOf(ctx)
	}
	for _, o := range p.rules.Observers {
		ctx = o.Begin(ctx, &p.call)
	}
	p.ctx = ctx
	return ctx
}

// tell tells the observers what became of the request.
func (p *passage) tell(status, reason string, refused bool) {
	p.call.Status, p.call.Reason, p.call.Refused = status, reason, refused
	if served := p.served.Load(); served != nil {
		p.call.Instance, p.call.Passed = served.instance, served.since
	}
	p.call.Duration, p.call.BytesOut = time.Since(p.call.Started), p.bytes.Load()
	for _, o := range p.rules.Observers {
		o.End(p.ctx, &p.call)
	}
}

// refused ends the passage of a request that is not passed on.
func (p *passage) refused(err error) {
	p.call.Refused, p.denied = true, true
	reason := err.Error()
	if p.rules.Audit != nil {
		suppressed, tell := p.overLimit(err).tell()
		p.untold = !tell
		reason += likeIt(suppressed)
	}
	p.end(statusOf(err), reason)
}

// end tells the audit log and the observers what became of the request, once.
func (p *passage) end(status, reason string) {
	p.once.Do(func() {
		p.place.Leave()
		p.tell(status, reason, p.call.Refused)
		slot := p.slot
		if p.over != nil {
			slot = p.atEnd()
		} else {
			p.makeRoom()
		}
		p.record(slot, status, reason)
	})
}

// record writes what became of the request into the audit log, if there is one.
func (p *passage) record(slot audit.Slot, status, reason string) {
	if p.rules.Audit == nil || p.untold {
		slot.Release()
		return
	}
	r := p.describe(status, reason)
	slot.Write(&r)
}

// watched is a call behind a guard.
type watched struct {
	link.Call
	passage *passage
}

// Take returns what has come. A response is screened, and is the end of the passage.
func (w *watched) Take() []mcp.Message {
	messages := slices.DeleteFunc(w.Call.Take(), w.passage.hides)
	for i, m := range messages {
		if m.Kind() == mcp.Response {
			messages[i] = w.passage.screen(m)
			w.passage.bytes.Add(int64(len(messages[i].Raw())))
			w.passage.end(statusIn(m))
			continue
		}
		w.passage.bytes.Add(int64(len(m.Raw())))
	}
	return messages
}

// Cancel ends the call.
func (w *watched) Cancel(reason string) {
	w.Call.Cancel(reason)
	w.passage.end("cancelled", reason)
}

// Detach says that nobody reads the messages any more.
func (w *watched) Detach() {
	w.Call.Detach()
	w.passage.end("unread", "the client has gone")
}

// statusIn is what became of a request by its response.
func statusIn(m mcp.Message) (status, reason string) {
	switch m.Failure() {
	case mcp.FailureLate:
		return "timeout", errorText(m)
	case mcp.FailureEnded:
		return "ended", errorText(m)
	case mcp.FailureCancelled:
		return "cancelled", errorText(m)
	}
	switch {
	case m.Err() != nil:
		return "error " + string(m.At(m.InError("code"))), errorText(m)
	case string(m.At(m.InResult("isError"))) == "true":
		return "tool-error", ""
	}
	return "ok", ""
}

func errorText(m mcp.Message) string {
	text, _ := m.Text(m.InError("message"))
	return text
}

// statusOf is what became of a request that has no call.
func statusOf(err error) string {
	switch RefusalOf(err).Reason {
	case Forbidden:
		return "forbidden"
	case Limited:
		return "limited"
	case Busy, Away:
		return "busy"
	case GivenUp:
		return "cancelled"
	case Unknown:
		return "unknown"
	case Stranger:
		return "unauthenticated"
	case Failed, Gone, Unopened, Conflict, NoMethod:
	}
	return "failed"
}
