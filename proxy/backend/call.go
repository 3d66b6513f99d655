package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// Call is one request in flight. Its queue gets the messages that relate to it
// and last of all, always, one response: the server's, or one that says why
// there is none.
type Call struct {
	*link.Queue
	conn  *Conn
	timer *time.Timer

	id          uint64 // toward the server
	method      string
	clientID    []byte
	token       []byte // progress token toward the server; nil without
	clientToken []byte

	failure  error // why the gateway itself ended it; set before the response
	detached bool  // nobody reads the queue; guarded by conn.mu
}

// Method is the method of the request.
func (c *Call) Method() string { return c.method }

// Cancel ends the call and tells the server, which may ignore it. The call gets
// a response that says so, unless it has one.
func (c *Call) Cancel(reason string) {
	if c.conn.take(c.id) == nil {
		return
	}
	c.conn.sendCancelled(c.id, reason)
	c.fail(fmt.Sprintf("the request was cancelled: %s", reason))
}

// Detach says that nobody reads this call's messages any more. The server goes
// on; what it still has to say goes to the listener.
func (c *Call) Detach() {
	c.conn.mu.Lock()
	c.detached = true
	left := c.Take()
	c.conn.mu.Unlock()
	for _, m := range left {
		if m.Kind() != mcp.Response {
			c.conn.relay(m)
		}
	}
}

// finish gives the call its response. The caller must have taken the call out of
// the table, so that this happens once.
func (c *Call) finish(response mcp.Message) {
	c.timer.Stop()
	c.Force(response)
}

// fail ends a call with an error of the gateway's own.
func (c *Call) fail(text string) {
	c.failure = errors.New(text)
	c.finish(mcp.NewError(c.clientID, mcp.CodeInternal, text, nil))
}

// expire ends a call that took too long.
func (c *Call) expire() {
	if c.conn.take(c.id) == nil {
		return
	}
	c.conn.sendCancelled(c.id, "timeout")
	c.fail(c.conn.lateText(c.method))
}

// Call sends a request to the server. It waits under ctx for room in the queue
// toward the server, but not for the answer. An *link.EndedError says that the
// instance is no more; link.ErrBusy that there are too many calls.
func (c *Conn) Call(ctx context.Context, request mcp.Message) (link.Call, error) {
	call, err := c.call(ctx, request)
	if err != nil {
		return nil, err // not a nil *Call
	}
	return call, nil
}

func (c *Conn) call(ctx context.Context, request mcp.Message) (*Call, error) {
	call := &Call{Queue: link.NewQueue(), conn: c, method: request.Method(), clientID: request.ID()}
	if span := request.Param("_meta", "progressToken"); !span.Empty() {
		call.clientToken = request.At(span)
		call.token = call.clientToken
	}
	if err := c.register(call, !request.Param("task").Empty()); err != nil {
		return nil, err
	}
	id := strconv.AppendUint(nil, call.id, 10)
	if c.shared && call.token != nil {
		// Callers that know nothing of each other may use the same token.
		call.token = id
		request = request.Replace(request.Param("_meta", "progressToken"), id)
	}
	err := c.put(ctx, request, id)
	var ended *link.EndedError
	if err != nil && !errors.As(err, &ended) { // else the call is answered with the cause of the end
		if c.take(call.id) != nil {
			call.timer.Stop()
		}
		return nil, err
	}
	return call, nil
}

// put hands a message to the writer. If the server has not read what was sent to
// it before, that waits, but no longer than for an answer.
func (c *Conn) put(ctx context.Context, m mcp.Message, id []byte) error {
	room, err := c.outbox.offer(m, id)
	if room == nil {
		return err
	}
	late := fmt.Errorf("server %q does not read its input: %.100q waited for %s, its limit", c.spec.Server, m.Method(), c.spec.Timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, c.spec.Timeout, late)
	defer cancel()
	return c.outbox.put(ctx, m, id)
}

func (c *Conn) register(call *Call, task bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return &link.EndedError{Cause: c.ended}
	}
	if len(c.calls) >= maxCalls {
		return link.ErrBusy
	}
	c.lastID++
	c.lastUsed = time.Now()
	c.tasks = c.tasks || task
	call.id = c.lastID
	call.timer = time.AfterFunc(c.spec.Timeout, call.expire)
	c.calls[call.id] = call
	return nil
}

// take removes a call from the table; nil if it is not there.
func (c *Conn) take(id uint64) *Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.calls[id]
	delete(c.calls, id)
	c.lastUsed = time.Now()
	return call
}

// sendCancelled is best effort: a server that does not read learns nothing.
func (c *Conn) sendCancelled(id uint64, reason string) {
	params := fmt.Sprintf(`{"requestId":%d,"reason":%s}`, id, mcp.Quote(reason))
	c.outbox.tell(mcp.NewRequest(nil, mcp.MethodCancelled, []byte(params)))
}

// Send passes on a notification or response of the client whose instance this
// is. It waits under ctx for room in the queue toward the server.
func (c *Conn) Send(ctx context.Context, m mcp.Message) error {
	c.mu.Lock()
	c.lastUsed = time.Now()
	c.mu.Unlock()
	if m.Method() == mcp.MethodCancelled {
		c.cancelFor(m)
		return nil
	}
	return c.put(ctx, m, nil)
}

// cancelFor cancels the call that a client names by its own id. One that is not
// in flight is no error: the answer may have overtaken the notification. The
// handshake cannot be cancelled (2025-11-25, cancellation).
func (c *Conn) cancelFor(m mcp.Message) {
	span := m.Param("requestId")
	call := c.byClientID(m.At(span))
	if call == nil || call.method == mcp.MethodInitialize || c.take(call.id) == nil {
		return
	}
	c.outbox.tell(m.Replace(span, strconv.AppendUint(nil, call.id, 10)))
	call.fail("the request was cancelled by the client")
}

func (c *Conn) byClientID(id []byte) *Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, call := range c.calls {
		if id != nil && bytes.Equal(call.clientID, id) {
			return call
		}
	}
	return nil
}
