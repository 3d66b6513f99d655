// Package link is how messages flow between the parts of the proxy, whatever
// stands at the other end: a process, a translation between eras, or a catalogue
// of many servers. The stateless era's shape is the native one: a Server answers
// requests, each complete in itself. A Session is the handshake era's.
//
// Runs in: proxy.
package link

import (
	"context"
	"errors"

	"mcpgateway/proxy/mcp"
)

// Server answers requests of the stateless era (2026-07-28). Its methods may be
// called concurrently.
type Server interface {
	// Do passes a request on. It waits under ctx until the server has taken it, but
	// not for the answer, and the call does not end with ctx. The request carries
	// the era's _meta; ids are the caller's and need not be unique. An error says
	// that there is no call; an answer that is an error comes by the call.
	// subscriptions/listen is a call that is answered when the subscription ends.
	Do(ctx context.Context, request mcp.Message) (Call, error)
}

// Session is one client's session of the handshake era. Its methods may be called
// concurrently.
type Session interface {
	// Call passes a request on, as Server.Do does. The first one is initialize.
	// Messages of the server that relate to the call, its requests among them, come
	// before the answer.
	Call(ctx context.Context, request mcp.Message) (Call, error)
	// Send passes on a notification or a response of the client.
	Send(ctx context.Context, m mcp.Message) error
	// Listen makes the caller the one reader of what relates to no call; ok is false
	// if there is one already. stop ends it and must be called.
	Listen() (inbox *Queue, stop func(), ok bool)
	// Done is closed when nothing of the session is left.
	Done() <-chan struct{}
	// AfterDone has f called then, at once if that is so already. Waiting costs no
	// goroutine.
	AfterDone(f func())
	// Err is why the session has ended or is about to; nil while it serves.
	Err() error
	// Close ends the session. It does not wait.
	Close()
}

// Call is one request in flight.
type Call interface {
	// Ready gives a value when Take may have messages.
	Ready() <-chan struct{}
	// Take returns what has come, in order: messages that relate to the request, and
	// last of all, always, one response.
	Take() []mcp.Message
	// Wake makes Ready give a value, though nothing may have come.
	Wake()
	// Cancel ends the call with a response that says so, and tells the server.
	Cancel(reason string)
	// Leave says that nobody reads for now; who does so again takes Ready anew.
	Leave()
	// Detach says that nobody reads the messages any more; the server goes on.
	Detach()
}

// ErrBusy is the error of a call over the limit of calls in flight.
var ErrBusy = errors.New("too many at a time: try again later")

// EndedError is the error of whatever comes after the end of an instance or of a
// session. Its text is the cause of the end, a sentence for the caller.
type EndedError struct{ Cause error }

func (e *EndedError) Error() string { return e.Cause.Error() }

// Unwrap returns the cause.
func (e *EndedError) Unwrap() error { return e.Cause }

// Answered returns a call that has its response already.
func Answered(response mcp.Message) Call {
	q := NewQueue()
	q.Force(response)
	return answered{q}
}

type answered struct{ *Queue }

func (answered) Cancel(string) {}
func (answered) Detach()       {}

// Await waits for a call's response and drops what comes before it. If ctx ends
// first, the call is cancelled.
func Await(ctx context.Context, call Call) (mcp.Message, error) {
	for {
		select {
		case <-call.Ready():
		case <-ctx.Done():
			call.Cancel("the caller has gone")
			return mcp.Message{}, context.Cause(ctx)
		}
		for _, m := range call.Take() {
			if m.Kind() == mcp.Response {
				return m, nil
			}
		}
	}
}
