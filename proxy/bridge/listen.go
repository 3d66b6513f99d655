package bridge

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// Bounds of the subscriptions of one process.
const (
	maxSubscriptions = 256
	maxTopics        = 1024 // resources of one subscription
)

// topics counts who wants to hear of a resource: the process is asked once.
type topics struct {
	mu    sync.Mutex // held while the process is asked, so that it is in the state that users says
	users map[string]int
	open  atomic.Int32 // subscriptions
}

// subscription is a subscriptions/listen on a process of the handshake era.
type subscription struct {
	*link.Queue
	bridge *Stateless
	id     []byte
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	lists   []string // methods of the notices of their changes
	uris    []string
	waiting []mcp.Message // what came before the acknowledgement
	begun   bool
	over    bool
}

var errCancelled = errors.New("the subscription was cancelled")

// listen opens a subscription. Asking the process for its resources takes time, and
// is not waited for.
func (s *Stateless) listen(ctx context.Context, request mcp.Message) (link.Call, error) {
	sub := &subscription{Queue: link.NewQueue(), bridge: s, id: request.ID()}
	ctx, sub.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	for _, list := range mcp.ListChanges() {
		if isTrue(request.At(request.Param("notifications", list.Member))) && s.offers(list.Capability, "listChanged") {
			sub.lists = append(sub.lists, list.Method)
		}
	}
	var wanted []string
	if s.offers("resources", "subscribe") {
		wanted = uris(request)
	}
	if len(wanted) > maxTopics {
		return link.Answered(mcp.NewError(request.ID(), mcp.CodeInvalidParams, "a subscription has at most "+strconv.Itoa(maxTopics)+" resources", nil)), nil
	}
	if !s.topics.enter() {
		return nil, link.ErrBusy
	}
	stop, err := s.conn.Watch(sub.heard, func(cause error) { sub.cancel(cause) })
	if err != nil {
		s.topics.leave()
		return nil, &link.EndedError{Cause: err}
	}
	go func() {
		defer s.topics.leave()
		defer stop()
		sub.serve(ctx, wanted)
	}()
	return sub, nil
}

// serve subscribes, acknowledges, and cleans up when the subscription is over.
func (sub *subscription) serve(ctx context.Context, wanted []string) {
	var held []string
	for _, uri := range wanted {
		if ctx.Err() == nil && sub.bridge.subscribe(ctx, uri) {
			held = append(held, uri)
		}
	}
	sub.begin(held)
	<-ctx.Done()
	for _, uri := range held {
		sub.bridge.unsubscribe(uri)
	}
	sub.end(context.Cause(ctx))
}

// begin acknowledges what the process agreed to, and passes on what came since.
func (sub *subscription) begin(held []string) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	sub.uris, sub.begun = held, true
	sub.Force(sub.acknowledgement())
	for _, m := range sub.waiting {
		sub.passLocked(m)
	}
	sub.waiting = nil
}

func (sub *subscription) acknowledgement() mcp.Message {
	filter := []byte{'{'}
	add := func(name string, value []byte) {
		if len(filter) > 1 {
			filter = append(filter, ',')
		}
		filter = append(append(append(filter, mcp.Quote(name)...), ':'), value...)
	}
	for _, list := range mcp.ListChanges() {
		if slices.Contains(sub.lists, list.Method) {
			add(list.Member, []byte("true"))
		}
	}
	if len(sub.uris) > 0 {
		uris := []byte{'['}
		for i, uri := range sub.uris {
			if i > 0 {
				uris = append(uris, ',')
			}
			uris = append(uris, mcp.Quote(uri)...)
		}
		add("resourceSubscriptions", append(uris, ']'))
	}
	params := append([]byte(`{"notifications":`), append(filter, '}')...)
	return mcp.NewRequest(nil, mcp.MethodAcknowledged, append(params, '}')).InSubscription(sub.id)
}

// heard gets every notification of the process that relates to no call.
func (sub *subscription) heard(m mcp.Message) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	switch {
	case sub.begun:
		sub.passLocked(m)
	case len(sub.waiting) < link.MaxQueue:
		sub.waiting = append(sub.waiting, m)
	}
}

// passLocked passes on what was asked for. A client that does not read loses
// notifications, which only say that something has changed.
func (sub *subscription) passLocked(m mcp.Message) {
	wanted := slices.Contains(sub.lists, m.Method())
	if m.Method() == mcp.MethodResourceUpdated {
		uri, _ := m.Text(m.Param("uri"))
		wanted = slices.ContainsFunc(sub.uris, func(u string) bool { return mcp.Covers(u, uri) })
	}
	if wanted && !sub.over {
		sub.Offer(m.InSubscription(sub.id))
	}
}

// end answers the request: well if its client ended it, or may open it anew at another
// instance, else with the cause.
func (sub *subscription) end(cause error) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	sub.over = true
	var changed *backend.ChangedError
	var unhealthy *backend.UnhealthyError
	if errors.Is(cause, errCancelled) || errors.As(cause, &changed) || errors.As(cause, &unhealthy) {
		sub.Force(mcp.NewResult(sub.id, append(append([]byte(`{"resultType":"complete","_meta":{"`+mcp.MetaSubscription+`":`), sub.id...), `}}`...)))
		return
	}
	sub.Force(mcp.NewError(sub.id, mcp.CodeInternal, cause.Error(), nil))
}

// Cancel ends the subscription.
func (sub *subscription) Cancel(string) { sub.cancel(errCancelled) }

// Detach ends it too: there is nobody to tell.
func (sub *subscription) Detach() { sub.cancel(errCancelled) }

// subscribe makes the process tell of a resource, and reports whether it will.
func (s *Stateless) subscribe(ctx context.Context, uri string) bool {
	s.topics.mu.Lock()
	defer s.topics.mu.Unlock()
	if s.topics.users[uri] == 0 && !s.tell(ctx, mcp.MethodSubscribe, uri) {
		return false
	}
	s.topics.users[uri]++
	return true
}

func (s *Stateless) unsubscribe(uri string) {
	s.topics.mu.Lock()
	defer s.topics.mu.Unlock()
	if s.topics.users[uri]--; s.topics.users[uri] == 0 {
		delete(s.topics.users, uri)
		s.tell(context.Background(), mcp.MethodUnsubscribe, uri) // a process that has ended tells nobody anyway
	}
}

func (s *Stateless) tell(ctx context.Context, method, uri string) bool {
	params := append(append([]byte(`{"uri":`), mcp.Quote(uri)...), '}')
	call, err := s.conn.Ask(ctx, mcp.NewRequest([]byte("0"), method, params), backend.Wants{})
	if err != nil {
		return false
	}
	answer, err := link.Await(ctx, call)
	return err == nil && answer.Err() == nil
}

func (t *topics) enter() bool {
	if t.open.Add(1) > maxSubscriptions {
		t.open.Add(-1)
		return false
	}
	return true
}

func (t *topics) leave() { t.open.Add(-1) }

// offers reports whether the process has said that it has a capability.
func (s *Stateless) offers(path ...string) bool {
	hello := s.conn.Hello()
	return isTrue(hello.At(hello.InResult(append([]string{"capabilities"}, path...)...)))
}

func isTrue(value []byte) bool { return string(value) == "true" }

// uris are the resources that a subscription asks for, each once; one more than it
// may have says that there are too many.
func uris(request mcp.Message) (list []string) {
	seen := map[string]bool{}
	for value := range mcp.Elements(request.At(request.Param("notifications", "resourceSubscriptions"))) {
		if uri, ok := mcp.TextOf(value); ok && !seen[uri] {
			seen[uri] = true
			list = append(list, uri)
		}
		if len(list) > maxTopics {
			break
		}
	}
	return list
}
