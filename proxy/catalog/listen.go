package catalog

import (
	"context"
	"fmt"
	"sync"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// Waits before a member's part of a subscription that has ended is opened again:
// the first, doubled each time, and the longest, after which all is well again.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// listen answers subscriptions/listen: one call, which has a part at each member
// that has something of what is asked for. A part that ends is opened again; the
// call ends when it is cancelled.
func (c *Catalog) listen(ctx context.Context, request mcp.Message) (link.Call, error) {
	asked, ok := parseFilter(request.At(request.Param("notifications")))
	if !ok {
		return nil, invalid("params.notifications is not a filter, or lists more than %d resources", maxSubscribed)
	}
	return begin(ctx, request.ID(), func(ctx context.Context, to *link.Queue) mcp.Message {
		s := &subscription{catalog: c, request: request, to: to, opened: make(chan struct{})}
		s.run(ctx, asked)
		return mcp.Message{} // it was cancelled
	}), nil
}

// subscription is a call of listen.
type subscription struct {
	catalog *Catalog
	request mcp.Message
	to      *link.Queue
	opened  chan struct{} // closed when the caller has the acknowledgement
}

// part is what a subscription asks of one member.
type part struct {
	member Member
	asked  filter
}

// outcome is what became of the first attempt to open a part.
type outcome struct {
	part    part
	honours filter
	err     error // it will be tried again
}

// run opens all parts, acknowledges them as one, and passes on what comes until ctx
// ends.
func (s *subscription) run(ctx context.Context, asked filter) {
	parts := s.parts(ctx, asked)
	outcomes := make(chan outcome, len(parts))
	var running sync.WaitGroup
	defer running.Wait()
	for _, p := range parts {
		running.Go(func() { s.follow(ctx, p, outcomes) })
	}
	honoured, answers := s.collect(ctx, parts, outcomes)
	if ctx.Err() != nil {
		return
	}
	s.acknowledge(honoured, answers)
	close(s.opened)
	<-ctx.Done()
}

// parts divides what is asked for: each list is asked of all, each resource of the
// member that has it.
func (s *subscription) parts(ctx context.Context, asked filter) []part {
	var owners map[string]Member
	if len(asked.uris) > 0 {
		owners, _ = s.catalog.owners(ctx, metaOf(s.request), asked.uris...)
	}
	var parts []part
	for _, m := range s.catalog.members {
		p := part{m, filter{lists: asked.lists}}
		for _, uri := range asked.uris {
			if owner, ok := owners[uri]; ok && owner.Name == m.Name {
				p.asked.uris = append(p.asked.uris, uri)
			}
		}
		if !p.asked.empty() {
			parts = append(parts, p)
		}
	}
	return parts
}

// collect waits for all parts, but not for long. What a late one may still honour
// counts as honoured, because it will be passed on.
func (s *subscription) collect(ctx context.Context, parts []part, outcomes <-chan outcome) (honoured filter, answers []answer) {
	timer := time.NewTimer(s.catalog.lists.wait)
	defer timer.Stop()
	waiting := map[string]part{}
	for _, p := range parts {
		waiting[p.member.Name] = p
	}
	late := false
	for len(waiting) > 0 && !late {
		select {
		case o := <-outcomes:
			delete(waiting, o.part.member.Name)
			honoured = honoured.with(o.honours)
			answers = append(answers, answer{member: o.part.member, err: o.err})
		case <-timer.C:
			late = true
		case <-ctx.Done():
			return honoured, answers
		}
	}
	for _, p := range waiting {
		honoured = honoured.with(p.asked)
		err := fmt.Errorf("it did not answer %s within %s", mcp.MethodListen, s.catalog.lists.wait)
		answers = append(answers, answer{member: p.member, err: err})
	}
	return honoured, answers
}

// acknowledge tells the caller what it will get.
func (s *subscription) acknowledge(honoured filter, answers []answer) {
	meta := appendMember([]byte{'{'}, mcp.MetaSubscription, s.request.ID())
	if faults := unavailable(answers); faults != nil {
		meta = appendMember(meta, MetaUnavailable, faults)
	}
	params := appendMember([]byte{'{'}, "_meta", append(meta, '}'))
	params = appendMember(params, "notifications", honoured.raw())
	s.to.Offer(mcp.NewRequest(nil, mcp.MethodAcknowledged, append(params, '}')))
}

// follow keeps one part open. The first outcome goes to outcomes.
func (s *subscription) follow(ctx context.Context, p part, outcomes chan<- outcome) {
	pause := firstPause
	report := func(o outcome) {
		if outcomes != nil {
			outcomes <- o
			outcomes = nil
		}
	}
	for {
		began := time.Now()
		kept, err := s.open(ctx, p, func(honours filter) { report(outcome{part: p, honours: honours}) })
		if !kept || ctx.Err() != nil {
			report(outcome{part: p})
			return
		}
		report(outcome{part: p, honours: p.asked, err: err})
		if time.Since(began) >= lastPause {
			pause = firstPause
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		pause = min(2*pause, lastPause)
	}
}

// open has one attempt at a part, and stays with it until it ends. kept is false if
// there is nothing to be had from the member.
func (s *subscription) open(ctx context.Context, p part, acknowledged func(filter)) (kept bool, err error) {
	request := s.request.Replace(s.request.Param("notifications"), p.asked.raw())
	call, err := p.member.Server.Do(ctx, request)
	if err != nil {
		return true, err
	}
	for {
		select {
		case <-call.Ready():
		case <-ctx.Done():
			call.Cancel(context.Cause(ctx).Error())
			return false, nil
		}
		for _, m := range call.Take() {
			switch {
			case m.Kind() == mcp.Response:
				return ended(m)
			case m.Method() == mcp.MethodAcknowledged:
				honours, _ := parseFilter(m.At(m.Param("notifications")))
				if honours = honours.within(p.asked); honours.empty() {
					call.Cancel("nothing to listen to")
					return false, nil
				}
				s.reopened(p, honours)
				acknowledged(honours)
			default:
				s.pass(ctx, p, m)
			}
		}
	}
}

// ended says what the end of a part means: a member that knows no such request
// won't know it later.
func ended(response mcp.Message) (kept bool, err error) {
	switch {
	case isError(response, mcp.CodeMethodNotFound), isError(response, mcp.CodeInvalidParams):
		return false, nil
	case response.Err() != nil:
		return true, problem(mcp.MethodListen, response)
	}
	return true, fmt.Errorf("it ended %s", mcp.MethodListen)
}

// reopened tells the caller of what it may have missed, unless it has missed
// nothing because the acknowledgement is still to come.
func (s *subscription) reopened(p part, honours filter) {
	select {
	case <-s.opened:
	default:
		return
	}
	for _, flag := range listFlags() {
		if honours.lists[flag.kind] {
			s.changed(p, flag.method)
			s.to.Offer(s.tagged(mcp.NewRequest(nil, flag.method, nil)))
		}
	}
	for _, uri := range honours.uris {
		params := append(append([]byte(`{"uri":`), mcp.Quote(uri)...), '}')
		s.to.Offer(s.tagged(mcp.NewRequest(nil, mcp.MethodResourceUpdated, params)))
	}
}

// pass brings one notification to the caller, but none before the acknowledgement.
// What the member sends meanwhile waits in its own queue.
func (s *subscription) pass(ctx context.Context, p part, m mcp.Message) {
	if m.Kind() != mcp.Notification || !p.asked.wants(m.Method()) {
		return
	}
	s.changed(p, m.Method())
	select {
	case <-s.opened:
		s.to.Offer(s.tagged(m))
	case <-ctx.Done():
	}
}

// changed forgets the list that a notification says has changed.
func (s *subscription) changed(p part, method string) {
	c := s.catalog
	for _, flag := range listFlags() {
		if flag.method == method {
			c.lists.forget(c.owner, p.member.Name, flag.kind)
		}
	}
	if method == mcp.MethodResourcesChanged {
		c.lists.forget(c.owner, p.member.Name, templates)
	}
}

// tagged is a notification with the caller's own id as that of the subscription.
func (s *subscription) tagged(m mcp.Message) mcp.Message {
	id := s.request.ID()
	if at := m.Param("_meta", mcp.MetaSubscription); !at.Empty() {
		return m.Replace(at, id)
	}
	member := append([]byte(`"`+mcp.MetaSubscription+`":`), id...)
	if at := m.Param("_meta"); mcp.IsObject(m.At(at)) {
		return m.Insert(at, member)
	}
	meta := append(append([]byte(`"_meta":{`), member...), '}')
	if at := m.Param(); mcp.IsObject(m.At(at)) {
		return m.Insert(at, meta)
	}
	return mcp.NewRequest(nil, m.Method(), append(append([]byte{'{'}, meta...), '}'))
}
