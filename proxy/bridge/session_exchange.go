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

	detached bool // nobody reads the queue; guarded by session.mu
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return nil, nil, &link.EndedError{Cause: s.ended}
	}
	if len(s.exchanges) >= maxExchanges {
		return nil, nil, link.ErrBusy
	}
	e = &exchange{Queue: link.NewQueue(), session: s, request: request}
	ctx, e.cancel = context.WithCancelCause(s.ctx)
	s.exchanges[e] = struct{}{}
	s.running.Add(1)
	return e, ctx, nil
}

// run works on the exchange until work has its response.
func (e *exchange) run(ctx context.Context, work func(context.Context) mcp.Message) {
	go func() {
		defer e.release()
		e.Force(work(ctx))
	}()
}

func (e *exchange) release() {
	s := e.session
	s.mu.Lock()
	delete(s.exchanges, e)
	s.lastUsed = time.Now()
	s.mu.Unlock()
	e.cancel(nil)
	s.running.Done()
}

// Cancel ends the call with a response that says so, and tells the server.
func (e *exchange) Cancel(reason string) {
	e.cancel(fmt.Errorf("the request was cancelled: %s", reason))
}

// Detach says that nobody reads this call's messages any more. The server goes
// on; what it still has to say goes to the listener.
func (e *exchange) Detach() {
	s := e.session
	s.mu.Lock()
	defer s.mu.Unlock()
	e.detached = true
	for _, m := range e.Take() {
		if m.Kind() != mcp.Response && !s.inbox.Offer(m) && m.Kind() == mcp.Request {
			s.answeredLocked(mcp.NewError(m.ID(), mcp.CodeInternal, errDeaf.Error(), nil))
		}
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
func (e *exchange) fail(err error) mcp.Message {
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{code: mcp.CodeInternal, text: err.Error()}
	}
	return mcp.NewError(e.request.ID(), f.code, f.text, f.data)
}

// forward passes a request on to the server.
func (s *Session) forward(ctx context.Context, c *client, request mcp.Message) (link.Call, error) {
	e, own, err := s.begin(request)
	if err != nil {
		return nil, err
	}
	prepared := c.prepare(request, s.logLevel(c)).Noted() // much is asked of it from here on
	call, err := s.do(ctx, own, prepared)
	if err != nil {
		e.release()
		return nil, err
	}
	e.run(own, func(ctx context.Context) mcp.Message {
		return e.settle(ctx, c, prepared, call)
	})
	return e, nil
}
