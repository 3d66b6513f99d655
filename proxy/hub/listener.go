package hub

import (
	"fmt"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// listener is the subscription of one caller.
type listener struct {
	*link.Queue
	hub     *Hub
	owner   string
	request mcp.Message
	wants   []topic
	gone    chan struct{} // closed when it is over

	// Guarded by hub.mu:
	has  []topic // what was acknowledged
	over bool
}

// Cancel ends the subscription of the caller. What the process tells goes on for
// others.
func (l *listener) Cancel(reason string) {
	l.end(mcp.NewError(l.request.ID(), mcp.CodeInternal, "the subscription was cancelled: "+reason, nil))
}

// Detach does nothing: nobody hears what a subscription tells but its caller.
func (*listener) Detach() {}

func (l *listener) end(response mcp.Message) {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	l.endLocked(response)
}

func (l *listener) endLocked(response mcp.Message) {
	if l.over {
		return
	}
	l.over = true
	close(l.gone)
	delete(l.hub.listeners, l)
	if len(l.hub.listeners) == 0 {
		l.hub.idle.Reset(linger)
	}
	l.Force(response)
}

// beginLocked tells the caller what it will hear of.
func (l *listener) beginLocked() {
	if l.over {
		return
	}
	for _, t := range l.wants {
		if l.hub.topics[t] != nil {
			l.has = append(l.has, t)
		}
	}
	params := fmt.Appendf(nil, `{"_meta":{%q:%s},"notifications":%s}`, mcp.MetaSubscription, l.request.ID(), filter(l.has))
	l.Offer(mcp.NewRequest(nil, mcp.MethodAcknowledged, params))
	if len(l.has) == 0 { // there is nothing to wait for
		l.endLocked(mcp.NewResult(l.request.ID(), fmt.Appendf(nil, `{"resultType":"complete","_meta":{%q:%s}}`, mcp.MetaSubscription, l.request.ID())))
	}
}

// hears reports whether the caller wants a notification. That of a part of a
// resource is for those who want the whole.
func (l *listener) hears(m mcp.Message) bool {
	uri, _ := m.Text(m.Param("uri"))
	for _, t := range l.has {
		if t.method == m.Method() && t.covers(uri) {
			return true
		}
	}
	return false
}

// own gives a message the caller's own id of the subscription.
func (l *listener) own(m mcp.Message) mcp.Message {
	span := m.Param("_meta", mcp.MetaSubscription)
	if m.Kind() == mcp.Response {
		span = m.InResult("_meta", mcp.MetaSubscription)
	}
	if span.Empty() {
		return m
	}
	return m.Replace(span, l.request.ID())
}
