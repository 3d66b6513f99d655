package backend

import (
	"bytes"
	"errors"
	"strconv"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// dispatch gives one line of the server to whom it concerns. It must not block:
// every caller of this instance waits for the reader.
func (c *Conn) dispatch(line []byte) {
	m, err := mcp.Parse(line)
	if err != nil {
		c.discard(line, err)
		return
	}
	switch {
	case m.Kind() == mcp.Response:
		c.answer(m)
	case m.Kind() == mcp.Request:
		c.serverRequest(m)
	case m.Method() == mcp.MethodProgress:
		c.progress(m)
	case !c.shared:
		c.relay(m)
	}
}

// discard skips a line that is of no use. Many servers print greetings there.
func (c *Conn) discard(line []byte, why error) {
	c.garbage.Add(1)
	if c.throttle.allow(time.Now()) {
		c.log.Warn("server wrote a line that is no MCP message", "text", quote(line), "err", why, "suppressed", c.throttle.reset())
	}
}

// answer finishes the call that a response belongs to. One without a call came
// after its time-out or cancellation.
func (c *Conn) answer(m mcp.Message) {
	id, err := strconv.ParseUint(string(m.ID()), 10, 64)
	if err != nil {
		c.discard(m.Raw(), errors.New("a response whose id was never sent"))
		return
	}
	if call := c.take(id); call != nil {
		call.finish(m.WithID(call.clientID))
	}
}

// serverRequest brings a request of the server to its client. A ping asks
// whether the other end of the pipe lives: that is the gateway.
func (c *Conn) serverRequest(m mcp.Message) {
	switch {
	case m.Method() == mcp.MethodPing:
		c.outbox.tell(mcp.NewResult(m.ID(), []byte("{}")))
	case c.shared:
		c.outbox.tell(mcp.NewError(m.ID(), mcp.CodeMethodNotFound, "the client offers no such capability", nil))
	default:
		c.relay(m)
	}
}

// relay brings a message to its client, or refuses a request that cannot be.
func (c *Conn) relay(m mcp.Message) {
	c.mu.Lock()
	accepted := c.targetLocked(m.Method()).Offer(m)
	c.mu.Unlock()
	if !accepted && m.Kind() == mcp.Request {
		c.outbox.tell(mcp.NewError(m.ID(), mcp.CodeInternal, "the client does not take messages", nil))
	}
}

// progress brings a progress notification to the call whose token it carries.
func (c *Conn) progress(m mcp.Message) {
	span := m.Param("progressToken")
	call := c.byToken(m.At(span))
	switch {
	case call != nil && c.shared:
		call.Offer(m.Replace(span, call.clientToken))
	case call != nil:
		call.Offer(m)
	case !c.shared: // such as that of a task, whose call is answered long since
		c.inbox.Offer(m)
	}
}

func (c *Conn) byToken(token []byte) *Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, call := range c.calls {
		if token != nil && !call.detached && bytes.Equal(call.token, token) {
			return call
		}
	}
	return nil
}

// targetLocked chooses the queue of a message that names no call. Over stdio nothing
// says what it relates to: if one call is in flight it is that one; with several,
// the listener if there is one, else the newest call, so that a server that asks
// its client something in the midst of a call is heard.
func (c *Conn) targetLocked(method string) *link.Queue {
	if unrelated(method) {
		return c.inbox
	}
	var newest *Call
	count := 0
	for _, call := range c.calls {
		if call.detached || call.method == mcp.MethodInitialize {
			continue
		}
		count++
		if newest == nil || call.id > newest.id {
			newest = call
		}
	}
	if newest == nil || (count > 1 && c.listening) {
		return c.inbox
	}
	return newest.Queue
}

func unrelated(method string) bool {
	switch method {
	case "notifications/tools/list_changed", "notifications/prompts/list_changed",
		"notifications/resources/list_changed", "notifications/resources/updated":
		return true
	}
	return false
}
