package backend

import (
	"strconv"

	"mcpgateway/proxy/mcp"
)

// subscribed brings a notification to the subscription that it names by the id
// of the request toward the server. The client knows its own.
func (c *Conn) subscribed(m mcp.Message) {
	span := m.Param("_meta", mcp.MetaSubscription)
	id, err := strconv.ParseUint(string(m.At(span)), 10, 64)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if call := c.calls[id]; call != nil && call.method == mcp.MethodListen {
		call.Offer(m.Replace(span, call.clientID))
	}
}

// unsubscribed ends the subscription that a server cancels (2026-07-28, basic/patterns/
// cancellation).
func (c *Conn) unsubscribed(m mcp.Message) {
	id, err := strconv.ParseUint(string(m.At(m.Param("requestId"))), 10, 64)
	if err != nil {
		return
	}
	c.mu.Lock()
	call := c.calls[id]
	c.mu.Unlock()
	if call == nil || call.method != mcp.MethodListen || c.take(id) == nil {
		return
	}
	call.complete()
}

// complete ends a subscription well.
func (c *Call) complete() {
	c.finish(mcp.NewResult([]byte("0"), []byte(`{"resultType":"complete","_meta":{"`+mcp.MetaSubscription+`":0}}`)))
}

// watcher hears of what a server of the handshake era says to nobody in
// particular.
type watcher struct {
	heard func(mcp.Message)
	ended func(cause error)
}

// Watch lets heard have each notification that relates to no call, until stop or
// the end of the instance, of which ended hears. Both must not block. An instance
// that is watched is in use. An error says that it has ended.
func (c *Conn) Watch(heard func(mcp.Message), ended func(cause error)) (stop func(), err error) {
	w := &watcher{heard, ended}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return nil, c.ended
	}
	if c.draining != nil {
		return nil, c.draining
	}
	c.watchers[w] = struct{}{}
	c.outbox.wake() // the server shall run while somebody listens
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watchers, w)
	}, nil
}

func (c *Conn) tellWatchers(m mcp.Message) {
	c.mu.Lock()
	var watchers []*watcher
	for w := range c.watchers {
		watchers = append(watchers, w)
	}
	c.mu.Unlock()
	for _, w := range watchers {
		w.heard(m)
	}
}
