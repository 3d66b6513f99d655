package catalog

import (
	"context"
	"fmt"
	"time"

	"mcpgateway/proxy/mcp"
)

// Waits before a member's part of a subscription that has ended is opened again:
// the first, doubled each time, and the longest, after which all is well again.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

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
func (s *subscription) tagged(m mcp.Message) mcp.Message { return m.InSubscription(s.request.ID()) }
