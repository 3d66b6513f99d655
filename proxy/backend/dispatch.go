package backend

import (
	"bytes"
	"errors"
	"slices"
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
	if len(line) > mcp.LongLine {
		m = m.HeldBy(c.long.hold)
	}
	if m.Method() == mcp.MethodToolsChanged {
		c.changes.Add(1)
		c.toolsChanged()
	}
	switch {
	case m.Kind() == mcp.Response:
		c.answer(m)
	case m.Kind() == mcp.Request:
		c.serverRequest(m)
	case m.Method() == mcp.MethodProgress:
		c.progress(m)
	case c.mode == ofSession:
		c.relay(m)
	case c.mode == stateless && !m.Param("_meta", mcp.MetaSubscription).Empty():
		c.subscribed(m)
	case c.mode == stateless && m.Method() == mcp.MethodCancelled:
		c.unsubscribed(m)
	case m.Method() == mcp.MethodLogged:
		c.logged(m)
	case c.mode == ofGateway:
		c.tellWatchers(m)
	}
}

// toolsChanged tells of it before anything that the server wrote afterwards arrives.
func (c *Conn) toolsChanged() {
	if told := c.spec().ToolsChanged; told != nil {
		told()
	}
}

// discard skips a line that is of no use. Many servers print greetings there.
func (c *Conn) discard(line []byte, why error) {
	c.garbage.Add(1)
	if c.throttle.allow(time.Now(), logLinesASec) {
		c.log.Warn("server wrote a line that is no MCP message", "stream", "stdout", "text", string(line[:min(len(line), maxLoggedLine)]), "err", why, "suppressed", c.throttle.reset())
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
		call.finish(m)
		return
	}
	c.answerProbe(id, m)
}

// serverRequest brings a request of the server to its client. A ping asks
// whether the other end of the pipe lives: that is the gateway.
func (c *Conn) serverRequest(m mcp.Message) {
	switch {
	case m.Method() == mcp.MethodPing:
		c.outbox.tell(mcp.NewResult(m.ID(), []byte("{}")))
	case c.mode == stateless:
		c.discard(m.Raw(), errors.New("a server of revision "+mcp.Revision2026July+" sends no requests"))
	case c.mode == ofGateway:
		c.ask(m)
	default:
		c.relay(m)
	}
}

// progress brings a progress notification to the call whose token it carries.
func (c *Conn) progress(m mcp.Message) {
	span := m.Param("progressToken")
	call, token := c.byToken(m.At(span))
	switch {
	case call != nil && c.mode != ofSession:
		call.Offer(m.Replace(span, token))
	case call != nil:
		call.Offer(m)
	case c.mode == ofSession: // such as that of a task, whose call is answered long since
		c.inbox.Offer(m)
	}
}

// byToken finds the call that a progress token of the server stands for, and what
// its client calls it. The call has shown that it goes on.
func (c *Conn) byToken(token []byte) (*Call, []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, call := range c.calls {
		if token == nil || !bytes.Equal(call.token, token) {
			continue
		}
		call.extendLocked(call.timeout)
		if !call.detached && call.clientToken != nil {
			return call, call.clientToken
		}
	}
	return nil, nil
}

// relay brings a message to the session's client, or refuses a request that cannot be.
func (c *Conn) relay(m mcp.Message) {
	c.mu.Lock()
	queue, call := c.targetLocked(m.Method())
	accepted := queue.Offer(c.numbered(m))
	if accepted && call != nil && m.Kind() == mcp.Request {
		call.extendLocked(call.longest) // a person may be asked
	}
	c.mu.Unlock()
	if !accepted && m.Kind() == mcp.Request {
		c.refuse(m, "the client does not take messages")
	}
}

// targetLocked chooses the queue of a message that names no call. Over stdio nothing
// says what it relates to: if one call is in flight it is that one; with several,
// the listener if there is one, else the newest call, so that a server that asks
// its client something in the midst of a call is heard.
func (c *Conn) targetLocked(method string) (*link.Queue, *Call) {
	if unrelated(method) {
		return c.inbox, nil
	}
	newest, count := c.newestLocked(func(call *Call) bool { return !call.detached && call.method != mcp.MethodInitialize })
	if newest == nil || (count > 1 && c.listening) {
		return c.inbox, nil
	}
	return &newest.Queue, newest
}

// newestLocked finds the newest call that suits, and how many do.
func (c *Conn) newestLocked(suits func(*Call) bool) (newest *Call, count int) {
	for _, call := range c.calls {
		if !suits(call) {
			continue
		}
		count++
		if newest == nil || call.id > newest.id {
			newest = call
		}
	}
	return newest, count
}

func unrelated(method string) bool {
	switch method {
	case mcp.MethodToolsChanged, mcp.MethodPromptsChanged, mcp.MethodResourcesChanged, mcp.MethodResourceUpdated:
		return true
	}
	return false
}

func (c *Conn) refuse(request mcp.Message, text string) {
	c.outbox.tell(mcp.NewError(request.ID(), mcp.CodeInternal, text, nil))
}

// ask brings a request of the server to the newest call whose caller can be asked.
// An instance with such callers is one owner's, who may take it for another of
// their own calls, and nobody else sees it.
func (c *Conn) ask(m mcp.Message) {
	if !slices.Contains(c.offers, m.Method()) {
		c.outbox.tell(mcp.NewError(m.ID(), mcp.CodeMethodNotFound, "the client offers no such capability", nil))
		return
	}
	c.mu.Lock()
	call, _ := c.newestLocked(func(call *Call) bool { return call.wants.Input && !call.detached })
	accepted := call != nil && call.Offer(m)
	c.mu.Unlock()
	if !accepted {
		c.refuse(m, "there is no call in flight whose client could be asked")
	}
}

// logged brings a log message, which names no call, to the newest that wants such.
// If callers of several owners do, nobody gets it: it may be another's.
func (c *Conn) logged(m mcp.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	call, _ := c.newestLocked(func(call *Call) bool { return call.wants.Logs && !call.detached })
	if call == nil {
		return
	}
	_, others := c.newestLocked(func(other *Call) bool {
		owner := other.wants.Owner // "": the gateway itself, about whose calls anybody may know
		return owner != "" && owner != call.wants.Owner && (other.wants.Logs || c.mode == ofGateway)
	})
	if others == 0 {
		call.Offer(m)
	}
}
