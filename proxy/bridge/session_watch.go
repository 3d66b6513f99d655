package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// Waits before a lost subscription is opened again.
const (
	firstDelay = time.Second
	maxDelay   = time.Minute
)

// watch holds one subscription at the server for all that a client wants to hear
// of. Its goroutine alone uses what stands below the channels.
type watch struct {
	session *Session
	client  *client
	begin   chan struct{} // holds a token when the client is ready for changed lists
	changes chan change

	wanted wanted
	call   link.Call // nil: there is none
	missed bool      // there was none, and who knows what has changed meanwhile
	retry  *time.Timer
	delay  time.Duration
	since  time.Time // when it was opened
}

// wanted is what the client wants to hear of.
type wanted struct {
	lists bool
	uris  []string // raw
}

func (w wanted) empty() bool { return !w.lists && len(w.uris) == 0 }

// change is a resource to be watched, or not any more.
type change struct {
	uri  string // raw
	add  bool
	done chan error // has room for the outcome
}

func newWatch(s *Session, c *client) *watch {
	w := &watch{
		session: s, client: c, begin: make(chan struct{}, 1), changes: make(chan change),
		retry: time.NewTimer(maxDelay), delay: firstDelay,
	}
	w.retry.Stop()
	return w
}

// subscribe answers resources/subscribe and resources/unsubscribe.
func (s *Session) subscribe(c *client, request mcp.Message) (link.Call, error) {
	uri, ok := request.Text(request.Param("uri"))
	switch {
	case !c.subscribe:
		return link.Answered(mcp.NewError(request.ID(), mcp.CodeMethodNotFound, "the server does not let resources be watched", nil)), nil
	case !ok || len(uri) > maxURIBytes:
		text := fmt.Sprintf("uri is no string of at most %d bytes", maxURIBytes)
		return link.Answered(mcp.NewError(request.ID(), mcp.CodeInvalidParams, text, nil)), nil
	}
	e, own, err := s.begin(request)
	if err != nil {
		return nil, err
	}
	e.run(own, func(ctx context.Context) mcp.Message {
		// Written anew, so that a URI is one however its client escapes it.
		change := change{string(mcp.Quote(uri)), request.Method() == mcp.MethodSubscribe, make(chan error, 1)}
		w := s.watched(c)
		if w == nil {
			return e.fail(errClosed)
		}
		if err := w.change(ctx, change); err != nil {
			return e.fail(err)
		}
		return mcp.NewResult(request.ID(), []byte("{}"))
	})
	return e, nil
}

// change waits until a change is in force.
func (w *watch) change(ctx context.Context, c change) error {
	select {
	case w.changes <- c:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// start makes the client hear of changed lists. It does not wait.
func (w *watch) start() {
	select {
	case w.begin <- struct{}{}:
	default:
	}
}

// run serves the subscription until the session ends.
func (w *watch) run(ctx context.Context) {
	for {
		select {
		case <-w.begin:
			w.watchLists(ctx)
		case c := <-w.changes:
			c.done <- w.apply(ctx, c)
		case <-w.ready():
			for _, m := range w.take() {
				w.tell(m)
			}
		case <-w.retry.C:
			if err := w.move(ctx, w.wanted); err != nil {
				w.lost(err)
			}
		case <-ctx.Done():
			w.retry.Stop()
			w.close(context.Cause(ctx).Error())
			return
		}
	}
}

func (w *watch) watchLists(ctx context.Context) {
	c := w.client
	if w.wanted.lists || !c.changes() {
		return
	}
	next := wanted{true, w.wanted.uris}
	err := w.move(ctx, next)
	var refused *failure
	switch {
	case err == nil:
	case errors.As(err, &refused):
		w.session.info.Log.Warn("server offers to tell of changed lists, but does not", "err", err)
	default:
		w.wanted = next
		w.lost(err)
	}
}

func (w *watch) apply(ctx context.Context, c change) error {
	next := wanted{w.wanted.lists, slices.Clone(w.wanted.uris)}
	at := slices.Index(next.uris, c.uri)
	switch {
	case c.add == (at >= 0):
		return nil
	case !c.add:
		next.uris = slices.Delete(next.uris, at, at+1)
	case len(next.uris) == maxURIs:
		return &failure{code: mcp.CodeInvalidParams, text: fmt.Sprintf("this session watches %d resources already, the most it can", maxURIs)}
	default:
		next.uris = append(next.uris, c.uri)
	}
	return w.move(ctx, next)
}

// move puts a subscription to what is wanted next in the place of the one there
// is. Only when the server has acknowledged the new one the old one ends, so that
// nothing is missed; what both have told by then is told once.
func (w *watch) move(ctx context.Context, next wanted) error {
	if next.empty() {
		w.wanted, w.missed = next, false
		w.retry.Stop()
		w.close("nothing is watched any more")
		return nil
	}
	call, before, told, err := w.open(ctx, next)
	if err != nil {
		return err
	}
	before = append(before, w.close("another subscription took its place")...)
	told = append(told, plain(call.Take())...)
	w.wanted, w.call, w.since = next, call, time.Now()
	w.retry.Stop()
	if w.missed {
		w.missed = false
		w.tellAll()
	}
	twice := func(m mcp.Message) bool {
		return slices.ContainsFunc(before, func(b mcp.Message) bool { return bytes.Equal(b.Raw(), m.Raw()) })
	}
	for _, m := range before {
		if m.Kind() != mcp.Response { // that subscription has ended in any case
			w.tell(m)
		}
	}
	for _, m := range told {
		if !twice(m) {
			w.tell(m)
		}
	}
	return nil
}
