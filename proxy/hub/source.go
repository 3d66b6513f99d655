package hub

import (
	"context"
	"errors"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// source is one subscription at the process.
type source struct{ link.Call }

// settled waits until the process is done with subscriptions that were ended.
func (h *Hub) settled(ctx context.Context) error {
	h.mu.Lock()
	timer := time.NewTimer(time.Until(h.ended.Add(settle)))
	h.mu.Unlock()
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ask asks the process for topics on behalf of a listener. If the process acknowledges
// the subscription, follow serves it, which the caller must let it once the listener can
// hear what comes.
func (h *Hub) ask(ctx context.Context, l *listener, topics []topic) (follow func(), err error) {
	if err := h.settled(ctx); err != nil {
		return nil, err
	}
	// What a caller wants beside notifications of changes, nobody would get.
	request := l.request.Replace(l.request.Param("notifications"), filter(topics))
	if meta := request.Param("_meta"); !meta.Empty() {
		request = request.Replace(meta, mcp.Without(request.At(meta), "progressToken", mcp.MetaLogLevel))
	}
	call, err := h.server.Do(ctx, "", request)
	if err != nil {
		return nil, err
	}
	for {
		select {
		case <-call.Ready():
		case <-ctx.Done():
			call.Cancel(context.Cause(ctx).Error())
			return nil, context.Cause(ctx)
		}
		messages := call.Take()
		for i, m := range messages {
			if m.Kind() == mcp.Response {
				l.end(m.WithID(l.request.ID()))
				return nil, errOver
			}
			if m.Method() == mcp.MethodAcknowledged {
				s := &source{call}
				h.opened(s, topics, m)
				return func() { h.follow(s, messages[i+1:]) }, nil
			}
		}
	}
}

var errOver = errors.New("the subscription has ended")

// opened notes which of the topics that it was asked for the process tells of now.
func (h *Hub) opened(s *source, topics []topic, acknowledged mcp.Message) {
	tells := map[topic]bool{}
	for _, t := range parse(acknowledged.At(acknowledged.Param("notifications"))) {
		tells[t] = true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sources[s] = struct{}{}
	for _, t := range topics {
		if tells[t] {
			h.topics[t] = s
		}
	}
}

// follow serves a subscription at the process until it ends.
func (h *Hub) follow(s *source, messages []mcp.Message) {
	for {
		for _, m := range messages {
			if m.Kind() == mcp.Response {
				h.over(s, m)
				return
			}
			h.tell(m)
		}
		<-s.Ready()
		messages = s.Take()
	}
}

// tell brings a notification to those who want it.
func (h *Hub) tell(m mcp.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.listeners {
		if l.hears(m) {
			l.Offer(l.own(m))
		}
	}
}

// over ends the listeners of a subscription that the process, or the end of it,
// has ended. They may ask again.
func (h *Hub) over(s *source, response mcp.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, open := h.sources[s]; !open { // the hub itself has ended it
		return
	}
	delete(h.sources, s)
	for l := range h.listeners {
		for _, t := range l.has {
			if h.topics[t] == s {
				l.endLocked(l.own(response.WithID(l.request.ID())))
				break
			}
		}
	}
	for t, from := range h.topics {
		if from == s {
			delete(h.topics, t)
		}
	}
}
