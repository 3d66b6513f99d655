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
	caller  policy.Identity
	scope   policy.Scope
	ctx     context.Context //nolint:containedctx // of the connection, which this type stands for
	cancel  context.CancelFunc
	out     chan mcp.Message
	running sync.WaitGroup

	mu      sync.Mutex
	session string
	calls   map[string]link.Call // of the stateless era, by raw id
}

// NewDuplex returns the duplex of one connection; Close must be called. current
// gives the gate in force, and each message uses the one of its time.
func NewDuplex(caller policy.Identity, scope policy.Scope, current func() *Gate) *Duplex {
	ctx, cancel := context.WithCancel(context.Background())
	return &Duplex{
		current: current, caller: caller, scope: scope, ctx: ctx, cancel: cancel,
		out: make(chan mcp.Message), calls: map[string]link.Call{},
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
	d.mu.Lock()
	session := d.session
	d.mu.Unlock()
	if session != "" {
		// It may have ended already, or be no longer allowed: then its instance ends
		// with its idle time.
		_ = d.current().End(d.caller, d.scope, session)
	}
	d.running.Wait()
}

// Receive takes one message of the client. Whatever is wrong with it is answered
// on the connection. Messages must come one at a time, in their order.
func (d *Duplex) Receive(data []byte) {
	m, err := mcp.Parse(data)
	var invalid *mcp.InvalidError
	if errors.As(err, &invalid) {
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
		// Each is complete in itself, and one may wait for its server to start.
		d.running.Go(func() { d.do(m, true) })
	default:
		d.do(m, false)
	}
}

func (d *Duplex) do(m mcp.Message, stateless bool) {
	request := Request{Caller: d.caller, Scope: d.scope, Stateless: stateless, Message: m}
	if !stateless {
		d.mu.Lock()
		request.Session = d.session
		d.mu.Unlock()
	}
	gate := d.current()
	reply, err := gate.Do(d.ctx, request)
	if err != nil {
		if m.Kind() == mcp.Request {
			r := RefusalOf(err)
			d.put(mcp.NewError(m.ID(), r.Code, r.Text, nil))
		}
		return
	}
	if reply.Session != "" {
		d.opened(gate, reply.Session)
	}
	switch {
	case reply.Call == nil:
	case stateless:
		d.hold(m.ID(), reply.Call)
	default:
		d.running.Go(func() { d.pump(reply.Call) })
	}
}

// opened makes the session's unrelated messages those of the connection.
func (d *Duplex) opened(gate *Gate, id string) {
	d.mu.Lock()
	d.session = id
	d.mu.Unlock()
	listener, err := gate.Listen(d.caller, d.scope, id)
	if err != nil { // it has ended already
		d.cancel()
		return
	}
	d.running.Go(func() {
		defer d.cancel()
		defer listener.Stop()
		for {
			select {
			case <-listener.Ready():
				for _, m := range listener.Take() {
					d.put(m)
				}
			case <-listener.Done:
				return
			case <-d.ctx.Done():
				return
			}
		}
	})
}

// hold serves a call of the stateless era that its client may cancel by its id.
func (d *Duplex) hold(id []byte, call link.Call) {
	d.mu.Lock()
	d.calls[string(id)] = call
	d.mu.Unlock()
	d.pump(call)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.calls[string(id)] == call {
		delete(d.calls, string(id))
	}
}

// cancelStateless reports whether a notification cancelled a call of the stateless
// era. That of a session is the server's.
func (d *Duplex) cancelStateless(m mcp.Message) bool {
	d.mu.Lock()
	call, ok := d.calls[string(m.At(m.Param("requestId")))]
	d.mu.Unlock()
	if ok {
		call.Cancel("the client cancelled it")
	}
	return ok
}

// pump passes on the messages of a call until its response.
func (d *Duplex) pump(call link.Call) {
	for {
		select {
		case <-call.Ready():
		case <-d.ctx.Done():
			call.Cancel("the client has disconnected")
			return
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
