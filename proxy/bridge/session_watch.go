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
		if err := c.watch.change(ctx, change); err != nil {
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
	if w.wanted.lists || (!c.toolsChanged && !c.promptsChanged && !c.resourcesChanged) {
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

// open opens a subscription and waits until it is acknowledged. It returns what
// the old one has told that the new one may have told too, and what the new one
// has.
func (w *watch) open(ctx context.Context, next wanted) (call link.Call, before, told []mcp.Message, err error) {
	late := fmt.Errorf("the server did not acknowledge a subscription within %s", ackWait)
	ctx, cancel := context.WithTimeoutCause(ctx, ackWait, late)
	defer cancel()
	call, err = w.session.do(ctx, ctx, w.request(next))
	if err != nil {
		return nil, nil, nil, err
	}
	for {
		// In this order: what the old one has told before there is an acknowledgment,
		// the new one does not tell again.
		before := w.take()
		told, acknowledged, err := w.acknowledged(call.Take(), next)
		if acknowledged {
			return call, before, told, nil
		}
		for _, m := range before {
			w.tell(m)
		}
		if err != nil {
			call.Cancel("it is not what was asked for")
			return nil, nil, nil, err
		}
		select {
		case <-call.Ready():
		case <-w.ready():
		case <-ctx.Done():
			call.Cancel(context.Cause(ctx).Error())
			return nil, nil, nil, context.Cause(ctx)
		}
	}
}

// acknowledged looks for the acknowledgment of a subscription and returns what was
// told after it. Before it, nothing is.
func (w *watch) acknowledged(messages []mcp.Message, next wanted) (told []mcp.Message, ok bool, err error) {
	for i, m := range messages {
		if m.Kind() == mcp.Response {
			return nil, false, refusal(m)
		}
		if m.Method() == mcp.MethodAcknowledged {
			if err := w.honoured(next, m); err != nil {
				return nil, false, err
			}
			return plain(messages[i+1:]), true, nil
		}
	}
	return nil, false, nil
}

// request asks for all that is wanted.
func (w *watch) request(next wanted) mcp.Message {
	filter := []byte(`{"notifications":{`)
	add := func(wanted bool, name string, value []byte) {
		if !wanted {
			return
		}
		if !bytes.HasSuffix(filter, []byte("{")) {
			filter = append(filter, ',')
		}
		filter = append(append(append(filter, mcp.Quote(name)...), ':'), value...)
	}
	uris := []byte("[")
	for i, uri := range next.uris {
		if i > 0 {
			uris = append(uris, ',')
		}
		uris = append(uris, uri...)
	}
	add(next.lists && w.client.toolsChanged, "toolsListChanged", []byte("true"))
	add(next.lists && w.client.promptsChanged, "promptsListChanged", []byte("true"))
	add(next.lists && w.client.resourcesChanged, "resourcesListChanged", []byte("true"))
	add(len(next.uris) > 0, "resourceSubscriptions", append(uris, ']'))
	w.session.mu.Lock()
	id := w.session.nextIDLocked()
	w.session.mu.Unlock()
	return w.client.prepare(mcp.NewRequest(id, mcp.MethodListen, append(filter, "}}"...)), "")
}

// honoured reports an error if the server will not tell of a resource that was not
// watched before, or of nothing at all.
func (w *watch) honoured(next wanted, acknowledged mcp.Message) error {
	var uris []string
	for uri := range mcp.Elements(acknowledged.At(acknowledged.Param("notifications", "resourceSubscriptions"))) {
		if uri, ok := mcp.TextOf(uri); ok {
			uris = append(uris, string(mcp.Quote(uri)))
		}
	}
	for _, uri := range next.uris {
		if !slices.Contains(w.wanted.uris, uri) && !slices.Contains(uris, uri) {
			return &failure{code: mcp.CodeInvalidParams, text: fmt.Sprintf("the server does not let %.200s be watched", uri)}
		}
	}
	for _, value := range mcp.Members(acknowledged.At(acknowledged.Param("notifications"))) {
		if string(value) != "false" {
			return nil
		}
	}
	return &failure{code: mcp.CodeInvalidParams, text: "the server tells of nothing that it was asked for"}
}

// refusal is the error of a server that does not open a subscription.
func refusal(response mcp.Message) error {
	text, _ := response.Text(response.InError("message"))
	err := fmt.Errorf("the server did not open a subscription: %.200q", text)
	switch string(response.At(response.InError("code"))) {
	case "-32601", "-32602":
		return &failure{code: mcp.CodeInvalidParams, text: err.Error()}
	}
	return err
}
