package catalog

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
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

// run opens all parts, acknowledges them as one, and passes on what comes until ctx
// ends. Changes of lists are honoured whatever the members do: what a member lists
// too late changes the list, too.
func (s *subscription) run(ctx context.Context, asked filter) {
	late, stop := s.catalog.lists.watch(s.catalog.owner)
	defer stop()
	parts := s.parts(ctx, asked)
	outcomes := make(chan outcome, len(parts))
	var running sync.WaitGroup
	defer running.Wait()
	for _, p := range parts {
		running.Go(func() { s.follow(ctx, p, outcomes) })
	}
	uris, answers := s.collect(ctx, parts, outcomes)
	if ctx.Err() != nil {
		return
	}
	s.acknowledge(filter{asked.lists, uris}, answers)
	close(s.opened)
	for {
		select {
		case list := <-late:
			s.announce(asked, list)
		case <-ctx.Done():
			return
		}
	}
}

// announce tells the caller that a list has changed because a member was late.
func (s *subscription) announce(asked filter, list key) {
	if !slices.ContainsFunc(s.catalog.members, func(m Member) bool { return m.Name == list.server }) {
		return
	}
	for _, flag := range listFlags() {
		if asked.lists[flag.kind] && (flag.kind == list.kind || flag.kind == resources && list.kind == templates) {
			s.to.Offer(s.tagged(mcp.NewRequest(nil, flag.method, nil)))
		}
	}
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

// collect waits for all parts, but not for long, and returns the resources that they
// honour. Those of a late one count, because what it has to say will be passed on.
func (s *subscription) collect(ctx context.Context, parts []part, outcomes <-chan outcome) (uris []string, answers []answer) {
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
			uris = append(uris, o.honours.uris...)
			answers = append(answers, answer{member: o.part.member, err: o.err})
		case <-timer.C:
			late = true
		case <-ctx.Done():
			return uris, answers
		}
	}
	for _, p := range waiting {
		uris = append(uris, p.asked.uris...)
		err := fmt.Errorf("it did not answer %s within %s", mcp.MethodListen, s.catalog.lists.wait)
		answers = append(answers, answer{member: p.member, err: err})
	}
	return uris, answers
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
