// Package hub holds together what many callers want to hear from one
// server process of the stateless era. Over standard streams all of them share one
// connection, and a server may hold but one subscription of a kind for it: those
// made with the Go SDK 1.8.0 send each notification to the newest alone, and let
// all end when one does. So the process is asked for each topic once, whoever
// wants it, and no subscription at the process ends while any is needed.
//
// Runs in: proxy.
package hub

import (
	"context"
	"fmt"
	"sync"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// Bounds and waits of one process.
const (
	maxListeners = 1024
	maxTopics    = 4096             // of all of them
	maxShare     = 4                // of either of the two, one caller has a quarter
	maxSources   = 8                // subscriptions at the process, before one takes the place of all
	ackWait      = 30 * time.Second // for an acknowledgement
	linger       = 10 * time.Second // that subscriptions which nobody needs are kept
	settle       = time.Second      // for a process to be done with those that were ended
)

// Server is a process of the stateless era, as a *backend.Conn is one.
type Server interface {
	Do(ctx context.Context, owner string, request mcp.Message) (link.Call, error)
}

// Hub is a Server that asks another for each topic once. It ends with that one.
type Hub struct {
	server Server
	turn   chan struct{} // holds a token while nobody changes what the process is asked for
	idle   *time.Timer

	mu        sync.Mutex
	listeners map[*listener]struct{}
	sources   map[*source]struct{}
	topics    map[topic]*source // that are open
	ended     time.Time         // when subscriptions at the process last were
}

// New returns a hub of a process.
func New(server Server) *Hub {
	h := &Hub{
		server: server, turn: make(chan struct{}, 1),
		listeners: map[*listener]struct{}{}, sources: map[*source]struct{}{}, topics: map[topic]*source{},
	}
	h.turn <- struct{}{}
	h.mu.Lock() // the timer may fire before it is assigned
	defer h.mu.Unlock()
	h.idle = time.AfterFunc(linger, h.rest)
	return h
}

// Do passes a request on, as the process's own Do does, but subscriptions.
func (h *Hub) Do(ctx context.Context, owner string, request mcp.Message) (link.Call, error) {
	if request.Method() != mcp.MethodListen {
		return h.server.Do(ctx, owner, request)
	}
	topics, err := asked(request)
	if err != nil {
		return link.Answered(mcp.NewError(request.ID(), mcp.CodeInvalidParams, err.Error(), nil)), nil
	}
	l := &listener{Queue: link.NewQueue(), hub: h, owner: owner, request: request, wants: topics, gone: make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.roomLocked(l) {
		return nil, link.ErrBusy
	}
	h.listeners[l] = struct{}{}
	// What is asked of the process is not for this caller alone, and does not end
	// with its request.
	ctx = context.WithoutCancel(ctx)
	go func() { // ends after ackWait, or with the process
		if err := h.open(ctx, l); err != nil {
			l.end(mcp.NewError(request.ID(), mcp.CodeInternal, err.Error(), nil))
		}
	}()
	return l, nil
}

// roomLocked reports whether there may be one listener more: there is room for
// others, whatever one caller does.
func (h *Hub) roomLocked(l *listener) bool {
	own, all := 0, len(l.wants)
	distinct := map[topic]bool{}
	for other := range h.listeners {
		if other.owner != l.owner {
			continue
		}
		own++
		if all += len(other.wants); all > maxTopics {
			return false
		}
		for _, t := range other.wants {
			distinct[t] = true
		}
	}
	for _, t := range l.wants {
		distinct[t] = true
	}
	return len(h.listeners) < maxListeners && own < maxListeners/maxShare && len(distinct) <= maxTopics/maxShare
}

// open makes sure that the process tells of a listener's topics, and acknowledges
// those that it does tell of.
func (h *Hub) open(ctx context.Context, l *listener) error {
	late := fmt.Errorf("the server did not acknowledge a subscription within %s", ackWait)
	ctx, cancel := context.WithTimeoutCause(ctx, ackWait, late)
	defer cancel()
	select {
	case <-h.turn:
	case <-l.gone:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { h.turn <- struct{}{} }()
	missing, anew, err := h.missing(l)
	if err != nil {
		return err
	}
	var follow func()
	if len(missing) > 0 {
		follow, err = h.ask(ctx, l, missing)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil && anew:
		h.changedLocked()
	case anew:
		h.lostLocked(err)
	}
	if err == nil {
		l.beginLocked()
	}
	if follow != nil {
		go follow() // what it brings before that, the listener would not hear
	}
	if len(h.listeners) == 0 { // it was cancelled meanwhile
		h.idle.Reset(linger)
	}
	return err
}

// missing returns what the process is to be asked for. If it holds much by now
// that ends, and all that is still needed is asked for anew.
func (h *Hub) missing(l *listener) (missing []topic, anew bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.over {
		return nil, false, nil
	}
	for _, t := range l.wants {
		if h.topics[t] == nil {
			missing = append(missing, t)
		}
	}
	if len(missing) == 0 || (len(h.sources) < maxSources && len(h.topics)+len(missing) <= maxTopics) {
		return missing, false, nil
	}
	missing = h.neededLocked()
	if len(missing) > maxTopics {
		return nil, false, fmt.Errorf("all subscriptions together have more than %d topics, the most there can be", maxTopics)
	}
	h.endLocked()
	return missing, true, nil
}

// neededLocked are all topics that somebody wants.
func (h *Hub) neededLocked() (needed []topic) {
	seen := map[topic]bool{}
	for l := range h.listeners {
		for _, t := range l.wants {
			if !seen[t] {
				seen[t] = true
				needed = append(needed, t)
			}
		}
	}
	return needed
}

// rest ends the subscriptions at the process if nobody needs them any more.
func (h *Hub) rest() {
	select {
	case <-h.turn:
		defer func() { h.turn <- struct{}{} }()
	default:
		return // somebody has come
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.listeners) == 0 {
		h.endLocked()
	}
}

func (h *Hub) endLocked() {
	for s := range h.sources {
		s.Cancel("nobody needs it any more")
		h.ended = time.Now()
	}
	clear(h.sources)
	clear(h.topics)
}

// changedLocked tells all what they listen to may have changed: for a moment
// nobody did.
func (h *Hub) changedLocked() {
	for l := range h.listeners {
		for _, t := range l.has {
			l.Offer(l.own(t.changed()))
		}
	}
}

// lostLocked ends all that listened to what is no more.
func (h *Hub) lostLocked(cause error) {
	for l := range h.listeners {
		if len(l.has) > 0 {
			l.endLocked(mcp.NewError(l.request.ID(), mcp.CodeInternal, cause.Error(), nil))
		}
	}
}
