package gate

import (
	"context"
	"errors"
	"sync"

	"mcpgateway/policy"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// Duplex serves one connection of a client that carries messages both ways, such
// as a WebSocket, as the stdio transport would: its front hands over what it
// reads, and writes what Out gives. Either era may be spoken over it. A session
// opened by it lives as long as it.
type Duplex struct {
	current func() *Gate
	origin  Origin
	caller  *policy.Identity
	scope   policy.Scope
	ctx     context.Context //nolint:containedctx // of the connection, which this type stands for
	cancel  context.CancelFunc
	out     chan mcp.Message
	running sync.WaitGroup

	receiving sync.Mutex // held by Receive

	mu        sync.Mutex
	session   string
	inSession int  // calls of the session
	over      bool // the session has ended
	finishing bool // the client has said all
	pending   map[*pending]struct{}
	bytes     int // of what is pending
}

// pending is a message of the stateless era that is not answered yet.
type pending struct {
	id     string // raw
	cancel context.CancelFunc
}

// Bounds of the requests of the stateless era that one connection has in flight,
// beside the one that is over them: each is held until it is answered.
const (
	maxPending      = 256
	maxPendingBytes = 16 << 20
)

// NewDuplex returns the duplex of one connection; Close must be called. current
// gives the gate in force, and each message uses the one of its time.
func NewDuplex(origin Origin, caller *policy.Identity, scope policy.Scope, current func() *Gate) *Duplex {
	ctx, cancel := context.WithCancel(context.Background())
	return &Duplex{
		current: current, origin: origin, caller: caller, scope: scope, ctx: ctx, cancel: cancel,
		out: make(chan mcp.Message), pending: map[*pending]struct{}{},
	}
}

// Out gives the messages for the client. A client that does not read them holds
// up nobody else: what its calls have for it waits in their bounded queues.
func (d *Duplex) Out() <-chan mcp.Message { return d.out }

// Done is closed when the connection is of no more use: its session has ended.
func (d *Duplex) Done() <-chan struct{} { return d.ctx.Done() }

// Close ends the calls in flight and the session, and returns when no goroutine of
// the duplex is left.
func (d *Duplex) Close() {
	d.cancel()
	// What is being received may be about to open a session.
	d.receiving.Lock()
	defer d.receiving.Unlock()
	d.mu.Lock()
	session := d.session
	d.mu.Unlock()
	if session != "" {
		_ = d.current().sessions.end(session, d.caller.Subject, d.scope) // it may have ended already
	}
	d.running.Wait()
}

// Receive takes one message of the client. Whatever is wrong with it is answered
// on the connection. Messages must come one at a time, in their order; what comes
// when the connection is done is dropped.
func (d *Duplex) Receive(data []byte) {
	d.receiving.Lock()
	defer d.receiving.Unlock()
	if d.ctx.Err() != nil {
		return
	}
	m, err := mcp.Parse(data)
	if invalid, ok := errors.AsType[*mcp.InvalidError](err); ok {
		d.put(mcp.NewError(invalid.ID, invalid.Code, invalid.Reason, nil))
		return
	}
	revision, claimed := m.Text(m.Param("_meta", mcp.MetaRevision))
	switch {
	case claimed && !mcp.Stateless(revision) && m.Kind() == mcp.Request:
		d.put(mcp.NewUnsupported(m.ID(), revision))
	case m.Kind() == mcp.Notification && m.Method() == mcp.MethodCancelled && d.cancelStateless(m):
	case claimed && m.Kind() == mcp.Request && m.At(m.Param("_meta", mcp.MetaCapabilities)) == nil:
		d.put(mcp.NewError(m.ID(), mcp.CodeInvalidParams, "params._meta has no "+mcp.MetaCapabilities, nil))
	case claimed:
		ctx, finish, ok := d.begin(m)
		if !ok {
			d.refuse(m, link.ErrBusy)
			return
		}
		// Each is complete in itself, and one may wait for its server to start.
		d.running.Go(func() {
			defer finish()
			d.stateless(ctx, m)
		})
	default:
		d.handshake(m)
	}
}

// stateless serves one message of the stateless era.
func (d *Duplex) stateless(ctx context.Context, m mcp.Message) {
	reply, err := d.current().Do(ctx, Request{Origin: d.origin, Caller: d.caller, Scope: d.scope, Stateless: true, Message: m})
	if err != nil {
		d.refuse(m, err)
		return
	}
	if reply.Call != nil {
		d.pump(ctx, reply.Call)
	}
}

// handshake serves one message of the handshake era.
func (d *Duplex) handshake(m mcp.Message) {
	d.mu.Lock()
	session := d.session
	d.mu.Unlock()
	gate := d.current()
	reply, err := gate.Do(d.ctx, Request{Origin: d.origin, Caller: d.caller, Scope: d.scope, Session: session, Message: m})
	if err != nil {
		d.refuse(m, err)
		return
	}
	if reply.Call != nil {
		d.count(1)
		d.running.Go(func() {
			defer d.count(-1)
			d.pump(d.ctx, reply.Call)
		})
	}
	if reply.Session != "" {
		d.opened(gate, reply.Session)
	}
}

// refuse answers a request that there is no call of.
func (d *Duplex) refuse(m mcp.Message, err error) {
	if m.Kind() == mcp.Request {
		r := RefusalOf(err)
		d.put(mcp.NewError(m.ID(), r.Code, r.Text, r.Data()))
	}
}

// begin counts a message of the stateless era and reports false if there are too
// many. Its context ends when its client cancels it.
func (d *Duplex) begin(m mcp.Message) (ctx context.Context, finish func(), ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	size := len(m.Raw())
	if n := len(d.pending); n > 0 && (n >= maxPending || d.bytes+size > maxPendingBytes) {
		return nil, nil, false
	}
	ctx, cancel := context.WithCancel(d.ctx)
	p := &pending{string(m.ID()), cancel}
	d.pending[p] = struct{}{}
	d.bytes += size
	return ctx, func() {
		cancel()
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.pending, p)
		d.bytes -= size
		d.doneLocked()
	}, true
}

// cancelStateless reports whether a notification cancelled a request of the
// stateless era, be its server started or not. That of a session is the server's.
func (d *Duplex) cancelStateless(m mcp.Message) (found bool) {
	id := string(m.At(m.Param("requestId")))
	d.mu.Lock()
	defer d.mu.Unlock()
	for p := range d.pending {
		if id != "" && p.id == id {
			p.cancel()
			found = true
		}
	}
	return found
}

// count counts the session's calls.
func (d *Duplex) count(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inSession += n
	d.doneLocked()
}

// ended takes note of the session's end. Its calls are answered yet.
func (d *Duplex) ended() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	d.doneLocked()
}

// Finish says that the client will send nothing more. When all is answered the
// connection is done.
func (d *Duplex) Finish() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.finishing = true
	d.doneLocked()
}

func (d *Duplex) doneLocked() {
	if d.inSession == 0 && (d.over || d.finishing && len(d.pending) == 0) {
		d.cancel()
	}
}

// opened makes the session's unrelated messages those of the connection.
func (d *Duplex) opened(gate *Gate, id string) {
	d.mu.Lock()
	d.session = id
	d.mu.Unlock()
	listener, err := gate.Listen(d.caller, d.scope, id)
	if err != nil { // it has ended already
		d.ended()
		return
	}
	d.running.Go(func() {
		defer listener.Stop()
		for {
			select {
			case <-listener.Ready():
				d.relay(listener)
			case <-listener.Done:
				d.relay(listener)
				d.ended()
				return
			case <-d.ctx.Done():
				return
			}
		}
	})
}

func (d *Duplex) relay(listener *Listener) {
	for _, m := range listener.Take() {
		d.put(m)
	}
}

// pump passes on the messages of a call until its response, which it cancels for
// when ctx ends.
func (d *Duplex) pump(ctx context.Context, call link.Call) {
	for {
		select {
		case <-call.Ready():
		case <-d.ctx.Done():
			call.Cancel("the client has disconnected")
			return
		case <-ctx.Done():
			call.Cancel("the client cancelled it")
			ctx = d.ctx // the response says so
		}
		for _, m := range call.Take() {
			d.put(m)
			if m.Kind() == mcp.Response {
				return
			}
		}
	}
}

// put waits until the front takes a message, or the connection ends.
func (d *Duplex) put(m mcp.Message) {
	select {
	case d.out <- m:
	case <-d.ctx.Done():
	}
}
