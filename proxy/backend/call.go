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
	link.Queue
	conn   *Conn
	id     uint64 // toward the server
	method string
	wants  Wants
	token  []byte // progress token toward the server; nil without

	timeout time.Duration // longest wait for an answer or the next progress
	longest time.Duration // and whatever the progress

	failure error // why the gateway itself ended it; set before the response

	// Guarded by conn.mu:
	started     time.Time
	limit       time.Duration
	deadline    time.Time // when it has taken too long; zero without a limit
	clientID    []byte
	clientToken []byte
	detached    bool // nobody reads the queue
}

// Wants is what a caller is to get beside the answer and its progress. It says
// whom a message is for that names no call.
type Wants struct {
	Owner string // callers of different owners must not see each other's messages
	Logs  bool
	Input bool // the server's own requests
}

// Cancel ends the call and tells the server, which may ignore it. The call gets
// a response that says so, unless it has one.
func (c *Call) Cancel(reason string) {
	if c.conn.take(c.id) == nil {
		return
	}
	c.conn.abandon(c)
	c.conn.sendCancelled(c.id, reason)
	c.failAs(mcp.FailureCancelled, fmt.Sprintf("the request was cancelled: %s", reason))
}

// Detach says that nobody reads this call's messages any more. The server goes
// on; what it still has to say goes to the listener.
func (c *Call) Detach() {
	c.conn.mu.Lock()
	c.detached = true
	left := c.Take()
	c.conn.mu.Unlock()
	for _, m := range left {
		if m.Kind() != mcp.Response && c.conn.mode == ofSession {
			c.conn.relay(m)
		}
	}
}

// Rebind makes the call that of another request, a repetition of the one it was
// made for: messages carry its id and progress token from now on.
func (c *Call) Rebind(request mcp.Message) {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	c.clientID = request.ID()
	c.clientToken = request.At(request.Param("_meta", "progressToken"))
}

// Pause lets the call take so long from now on, whatever its limits: it is not the
// server that is waited for.
func (c *Call) Pause(longest time.Duration) {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	c.waitLocked(longest)
}

// waitLocked sets the deadline. conn.mu must be held.
func (c *Call) waitLocked(d time.Duration) {
	c.deadline = time.Now().Add(d)
	c.conn.alarm.setLocked(c.deadline)
}

// Resume gives the server its time anew.
func (c *Call) Resume() {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	c.started, c.limit = time.Now(), c.timeout
	c.waitLocked(c.limit)
}

// finish gives the call its response, of which nobody else has a part. The caller must have taken the call out of
// the table, so that this happens once.
func (c *Call) finish(response mcp.Message) {
	c.conn.mu.Lock()
	id := c.clientID
	c.conn.mu.Unlock()
	if response.ID() != nil {
		response = response.Readdressed(id)
	}
	if c.method == mcp.MethodListen {
		if span := response.InResult("_meta", mcp.MetaSubscription); !span.Empty() {
			response = response.Replace(span, id)
		}
	}
	c.Force(response)
}

// failAs ends a call with an error of the gateway's own.
func (c *Call) failAs(why mcp.Failure, text string) {
	c.failure = errors.New(text)
	c.finish(mcp.NewFailure([]byte("0"), why, text))
}

// late ends a call that took longer than limit, which nobody else can end any more.
func (c *Call) late(limit time.Duration) {
	c.conn.sendCancelled(c.id, "timeout")
	c.failAs(mcp.FailureLate, c.conn.lateText(c.method, limit))
}

// extendLocked gives the server its time anew, up to the cap: it has shown that it
// works. Time that it has been given for a person's answer stays. conn.mu must be
// held.
func (c *Call) extendLocked(d time.Duration) {
	elapsed := time.Since(c.started)
	d = min(d, c.longest-elapsed)
	if c.deadline.IsZero() || time.Now().Add(d).Before(c.deadline) {
		return
	}
	c.limit = (elapsed + d).Round(time.Millisecond)
	c.waitLocked(d)
}

// Call sends a request of the client whose instance this is. It waits under ctx
// for room in the queue toward the server, but not for the answer. A
// *link.EndedError says that the instance is no more; link.ErrBusy that there are
// too many calls.
func (c *Conn) Call(ctx context.Context, request mcp.Message) (link.Call, error) {
	return c.link(c.Ask(ctx, request, Wants{}))
}

// Do passes on a request of the stateless era, to a server of that era. Callers of
// different owners see nothing of each other.
func (c *Conn) Do(ctx context.Context, owner string, request mcp.Message) (link.Call, error) {
	logs := !request.Param("_meta", mcp.MetaLogLevel).Empty()
	return c.link(c.Ask(ctx, request, Wants{Owner: owner, Logs: logs}))
}

// link keeps a nil *Call from becoming a link.Call that is not nil.
func (*Conn) link(call *Call, err error) (link.Call, error) {
	if err != nil {
		return nil, err
	}
	return call, nil
}

// Ask sends a request as it is but for its id and progress token, and says what
// its caller is to get.
func (c *Conn) Ask(ctx context.Context, request mcp.Message, wants Wants) (*Call, error) {
	call := &Call{conn: c, method: request.Method(), wants: wants, clientID: request.ID(), started: time.Now()}
	call.Init()
	call.timeout, call.longest = c.spec().waits(request)
	span := request.Param("_meta", "progressToken")
	if !span.Empty() {
		call.clientToken = request.At(span)
		call.token = call.clientToken
	}
	if err := c.register(call, !request.Param("task").Empty()); err != nil {
		return nil, err
	}
	link.Serve(ctx, c.Sandbox(), call.started)
	var digits [20]byte
	id := strconv.AppendUint(digits[:0], call.id, 10)
	if c.mode != ofSession && call.token != nil {
		request = request.Replace(span, id)
	}
	err := c.put(ctx, request, id, call.timeout)
	if _, ended := errors.AsType[*link.EndedError](err); err != nil && !ended { // else the call is answered with the cause of the end
		c.take(call.id)
		return nil, err
	}
	return call, nil
}

// put hands a message to the writer. If the server has not read what was sent to
// it before, that waits, but no longer than for an answer.
func (c *Conn) put(ctx context.Context, m mcp.Message, id []byte, wait time.Duration) error {
	room, err := c.outbox.offer(m, id)
	if room == nil {
		return err
	}
	late := fmt.Errorf("server %q does not read its input: %.100q waited for %s, its limit", c.spec().Server, m.Method(), wait)
	ctx, cancel := context.WithTimeoutCause(ctx, wait, late)
	defer cancel()
	return c.outbox.put(ctx, m, id)
}

func (c *Conn) register(call *Call, task bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return &link.EndedError{Cause: c.ended}
	}
	if c.draining != nil {
		return &link.EndedError{Cause: c.draining}
	}
	if !c.roomLocked(call.wants.Owner) {
		return link.ErrBusy
	}
	c.lastID++
	c.lastUsed = call.started
	c.tasks = c.tasks || task
	call.id = c.lastID
	if c.mode != ofSession && call.token != nil {
		// Callers that know nothing of each other may use the same token.
		call.token = strconv.AppendUint(nil, call.id, 10)
	}
	if call.method != mcp.MethodListen || c.mode != stateless { // which is answered when it ends
		call.limit, call.deadline = call.timeout, call.started.Add(call.timeout)
		c.alarm.setLocked(call.deadline)
	}
	c.calls[call.id] = call
	return nil
}

// roomLocked reports whether an owner may have one call more. Of the last quarter of a
// shared instance nobody gets any who has a quarter: others have room.
func (c *Conn) roomLocked(owner string) bool {
	if !c.spec().Shared || len(c.calls) < maxCalls*3/4 {
		return len(c.calls) < maxCalls
	}
	own := 0
	for _, call := range c.calls {
		if call.wants.Owner == owner {
			own++
		}
	}
	return len(c.calls) < maxCalls && own < maxCalls/4
}

// take removes a call from the table; nil if it is not there.
func (c *Conn) take(id uint64) *Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.takeLocked(id)
}

func (c *Conn) takeLocked(id uint64) *Call {
	call := c.calls[id]
	if call == nil {
		return nil
	}
	delete(c.calls, id)
	if len(c.calls) == 0 { // else it is in use
		c.lastUsed = time.Now()
	}
	c.endIfDrainedLocked()
	return call
}

// sendCancelled is best effort: a server that does not read learns nothing.
func (c *Conn) sendCancelled(id uint64, reason string) {
	params := fmt.Sprintf(`{"requestId":%d,"reason":%s}`, id, mcp.Quote(reason))
	c.outbox.tell(mcp.NewRequest(nil, mcp.MethodCancelled, []byte(params)))
}

// Send passes on a notification or response of the client. It waits under ctx for
// room in the queue toward the server.
func (c *Conn) Send(ctx context.Context, m mcp.Message) error {
	c.mu.Lock()
	c.lastUsed = time.Now()
	c.mu.Unlock()
	if m.Method() == mcp.MethodCancelled {
		c.cancelFor(m)
		return nil
	}
	if m.Kind() == mcp.Response && c.number > 0 {
		_, id := Questioner(m.ID())
		m = m.WithID(id)
	}
	return c.put(ctx, m, nil, c.spec().Timeout)
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
	c.abandon(call)
	c.outbox.tell(m.Replace(span, strconv.AppendUint(nil, call.id, 10)))
	call.failAs(mcp.FailureCancelled, "the request was cancelled by the client")
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
