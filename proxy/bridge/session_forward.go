package bridge

import (
	"context"
	"fmt"
	"sync"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// forwarded is a request of the client that the server has. Who reads it takes from the
// server's call, and nobody stands between, as long as there is nothing to do but to
// translate. What asks the client something, or must be read while nobody does so, goes
// on as an exchange, of which a goroutine is.
type forwarded struct {
	session  *Session
	client   *client
	request  mcp.Message // the client's
	prepared mcp.Message // the server's
	taking   until       // the server has it

	mu    sync.Mutex
	call  link.Call     // the server's; nil before it has the request
	left  []mcp.Message // that was taken from it, and not from here
	rest  *exchange     // that goes on with it; nil: none
	apart bool          // and is read by its own Ready, not the call's
	cause error         // why it was cancelled
	over  bool          // its response was taken from the call, or is in left
}

// forward passes a request on to the server.
func (s *Session) forward(ctx context.Context, c *client, request mcp.Message) (link.Call, error) {
	f := &forwarded{session: s, client: c, request: request, taking: until{Context: ctx, while: s.ctx}}
	if err := s.enter(f); err != nil {
		return nil, err
	}
	f.prepared = s.says().prepare(request)
	call, err := s.pass(&f.taking, f.prepared)
	if err != nil {
		s.leave(f)
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.call = call; f.cause != nil {
		f.stopLocked(f.cause)
	}
	return f, nil
}

// asked is the client's request.
func (f *forwarded) asked() mcp.Message { return f.request }

// Ready gives a value when Take may have messages.
func (f *forwarded) Ready() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.apart {
		return f.rest.Ready()
	}
	return f.call.Ready()
}

// Wake makes it give one.
func (f *forwarded) Wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wakeLocked()
}

func (f *forwarded) wakeLocked() {
	if f.apart {
		f.rest.Wake()
	} else {
		f.call.Wake()
	}
}

// Take returns what has come, as the client's era has it.
func (f *forwarded) Take() []mcp.Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	messages := f.left
	f.left = nil
	switch {
	case f.rest != nil:
		messages = append(messages, f.rest.Take()...)
	case messages == nil:
		messages = f.takeLocked()
	default:
		messages = append(messages, f.takeLocked()...)
	}
	return messages
}

// takeLocked takes what the server has said. If that is no answer yet, an exchange goes on.
func (f *forwarded) takeLocked() []mcp.Message {
	if f.over || f.rest != nil {
		return nil
	}
	messages := f.call.Take()
	kept := messages[:0]
	for _, m := range messages {
		switch {
		case m.Kind() == mcp.Notification:
			kept = append(kept, m)
		case m.Kind() != mcp.Response:
		case wantsInput(f.prepared.Method(), m):
			f.goOnLocked(f.call, func(ctx context.Context, e *exchange) mcp.Message {
				return e.settle(ctx, f.client, f.prepared, m)
			})
		default:
			kept = append(kept, f.client.response(f.request, m))
			f.endLocked()
		}
	}
	return kept
}

// attendLocked has what comes read while nobody does so.
func (f *forwarded) attendLocked() {
	if f.over || f.rest != nil {
		return
	}
	call := f.call
	call.Wake() // the last one to read may have had the token
	f.goOnLocked(nil, func(ctx context.Context, e *exchange) mcp.Message {
		return e.settle(ctx, f.client, f.prepared, e.relay(ctx, call))
	})
	f.apart = true
}

// goOnLocked makes an exchange of what is left to do. Who reads is woken by the call, if
// there is one.
func (f *forwarded) goOnLocked(woken link.Call, work func(context.Context, *exchange) mcp.Message) {
	e, ctx := f.session.newExchange(f.request)
	e.woken = woken
	f.rest = e
	f.session.replace(f, e)
	e.run(ctx, func(ctx context.Context) mcp.Message { return work(ctx, e) })
}

// Cancel ends the call with a response that says so, and tells the server.
func (f *forwarded) Cancel(reason string) { f.stop(fmt.Errorf(cancelledText, reason)) }

// stop ends the call with a response that says why, if it has none.
func (f *forwarded) stop(cause error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.call == nil {
		f.cause = cause
		f.taking.end(cause)
		return
	}
	f.stopLocked(cause)
}

func (f *forwarded) stopLocked(cause error) {
	f.left = append(f.left, f.takeLocked()...)
	switch {
	case f.rest != nil:
		f.rest.stop(cause)
	case !f.over:
		f.call.Cancel(cause.Error())
		f.left = append(f.left, fail(f.request, cause))
		f.endLocked()
	}
	f.wakeLocked()
}

// Leave has a goroutine read from now on: the answer is of interest to more than the
// client.
func (f *forwarded) Leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attendLocked()
}

// Detach says that nobody reads this call's messages any more. The server goes
// on; what it still has to say goes to the listener.
func (f *forwarded) Detach() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attendLocked()
	for _, m := range f.left {
		f.session.told(m)
	}
	f.left = nil
	if f.rest != nil {
		f.rest.Detach()
	}
}

func (f *forwarded) endLocked() {
	f.over = true
	f.session.leave(f)
}
