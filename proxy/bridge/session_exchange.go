package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// exchange is one call of the client, for which the server may be called several
// times. Its queue gets what relates to it and last of all, always, one response.
// A goroutine works on it until then.
type exchange struct {
	*link.Queue
	session *Session
	request mcp.Message // the client's
	cancel  context.CancelCauseFunc
	woken   link.Call // by whose Ready the exchange is read, too; nil: none

	detached bool // nobody reads the queue; guarded by session.mu
}

// ongoing is a call of the client that is not answered yet.
type ongoing interface {
	asked() mcp.Message // the client's request
	Cancel(reason string)
	stop(cause error)
}

// failure is an error with a code of its own and, perhaps, raw data.
type failure struct {
	code int
	text string
	data []byte
}

func (f *failure) Error() string { return f.text }

// begin makes an exchange of a request. Either run or release must follow. ctx
// ends with the exchange, or when it is cancelled.
func (s *Session) begin(request mcp.Message) (e *exchange, ctx context.Context, err error) {
	e, ctx = s.newExchange(request)
	if err := s.enter(e); err != nil {
		e.cancel(err)
		return nil, nil, err
	}
	return e, ctx, nil
}

func (s *Session) newExchange(request mcp.Message) (e *exchange, ctx context.Context) {
	e = &exchange{Queue: link.NewQueue(), session: s, request: request}
	ctx, e.cancel = context.WithCancelCause(s.ctx)
	return e, ctx
}

// enter counts a call that begins. leave must follow.
func (s *Session) enter(o ongoing) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return &link.EndedError{Cause: s.ended}
	}
	if len(s.ongoing) >= maxOngoing {
		return link.ErrBusy
	}
	s.ongoing[o] = struct{}{}
	s.running.Add(1)
	return nil
}

// replace makes another of a call.
func (s *Session) replace(before, after ongoing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ongoing, before)
	s.ongoing[after] = struct{}{}
}

// leave counts a call that is over.
func (s *Session) leave(o ongoing) {
	s.mu.Lock()
	delete(s.ongoing, o)
	s.lastUsed = time.Now()
	s.mu.Unlock()
	s.running.Done()
}

// run works on the exchange until work has its response.
func (e *exchange) run(ctx context.Context, work func(context.Context) mcp.Message) {
	go func() {
		defer e.release()
		e.Force(work(ctx))
		e.wakeReader()
	}()
}

func (e *exchange) wakeReader() {
	if e.woken != nil {
		e.woken.Wake()
	}
}

func (e *exchange) release() {
	e.session.leave(e)
	e.cancel(nil)
}

func (e *exchange) asked() mcp.Message { return e.request }

// Cancel ends the call with a response that says so, and tells the server.
func (e *exchange) Cancel(reason string) { e.stop(fmt.Errorf(cancelledText, reason)) }

const cancelledText = "the request was cancelled: %s"

func (e *exchange) stop(cause error) { e.cancel(cause) }

// Detach says that nobody reads this call's messages any more. The server goes
// on; what it still has to say goes to the listener.
func (e *exchange) Detach() {
	e.session.mu.Lock()
	defer e.session.mu.Unlock()
	e.detached = true
	for _, m := range e.Take() {
		e.session.toldLocked(m)
	}
}

// told brings the listener what a call that nobody reads had to say.
func (s *Session) told(m mcp.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.toldLocked(m)
}

func (s *Session) toldLocked(m mcp.Message) {
	if m.Kind() != mcp.Response && !s.inbox.Offer(m) && m.Kind() == mcp.Request {
		s.answeredLocked(mcp.NewError(m.ID(), mcp.CodeInternal, errDeaf.Error(), nil))
	}
}

var errDeaf = errors.New("the client does not take messages")

// deliver brings a message that relates to the call to the client, and reports
// false if there is no room for it.
func (e *exchange) deliver(m mcp.Message) bool {
	e.session.mu.Lock()
	defer e.session.mu.Unlock()
	if e.detached {
		return e.session.inbox.Offer(m)
	}
	defer e.wakeReader()
	return e.Offer(m)
}

// relay brings the notifications of a call at the server to the client and
// returns the response. If ctx ends first, the call is cancelled.
func (e *exchange) relay(ctx context.Context, call link.Call) mcp.Message {
	for {
		select {
		case <-call.Ready():
		case <-ctx.Done():
			cause := context.Cause(ctx)
			call.Cancel(cause.Error())
			return e.fail(cause)
		}
		for _, m := range call.Take() {
			switch m.Kind() {
			case mcp.Response:
				return m
			case mcp.Notification:
				e.deliver(m)
			}
		}
	}
}

// fail makes an error response of an error.
func (e *exchange) fail(err error) mcp.Message { return fail(e.request, err) }

func fail(request mcp.Message, err error) mcp.Message {
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{code: mcp.CodeInternal, text: err.Error()}
	}
	return mcp.NewError(request.ID(), f.code, f.text, f.data)
}
