package bridge

import (
	"errors"
	"time"

	"mcpgateway/proxy/mcp"
)

var errOver = errors.New("the server has ended it")

// ready gives a value when the subscription may have told something.
func (w *watch) ready() <-chan struct{} {
	if w.call == nil {
		return nil
	}
	return w.call.Ready()
}

// take returns what the subscription has told.
func (w *watch) take() []mcp.Message {
	if w.call == nil {
		return nil
	}
	return plain(w.call.Take())
}

// tell brings the client what it wants to hear of. A response is the end of the
// subscription.
func (w *watch) tell(m mcp.Message) {
	switch m.Method() {
	case mcp.MethodToolsChanged, mcp.MethodPromptsChanged, mcp.MethodResourcesChanged:
		if w.wanted.lists {
			w.session.inbox.Offer(m)
		}
	case mcp.MethodResourceUpdated:
		if len(w.wanted.uris) > 0 {
			w.session.inbox.Offer(m)
		}
	case "":
		if time.Since(w.since) >= maxDelay {
			w.delay = firstDelay
		}
		w.lost(errOver)
	}
}

// tellAll says of all that is watched that it has changed: it may have.
func (w *watch) tellAll() {
	for _, list := range []struct {
		watched bool
		method  string
	}{
		{w.client.toolsChanged, mcp.MethodToolsChanged},
		{w.client.promptsChanged, mcp.MethodPromptsChanged},
		{w.client.resourcesChanged, mcp.MethodResourcesChanged},
	} {
		if list.watched {
			w.tell(mcp.NewRequest(nil, list.method, nil))
		}
	}
	for _, uri := range w.wanted.uris {
		w.tell(mcp.NewRequest(nil, mcp.MethodResourceUpdated, []byte(`{"uri":`+uri+`}`)))
	}
}

// lost notes that there is no subscription, and has it tried again.
func (w *watch) lost(why error) {
	w.session.info.Log.Warn("subscription lost", "err", why, "retry_in", w.delay)
	w.call, w.missed = nil, true
	w.retry.Reset(w.delay)
	w.delay = min(2*w.delay, maxDelay)
}

// close ends the subscription and returns what it had told and nobody has taken.
func (w *watch) close(reason string) []mcp.Message {
	left := w.take()
	if w.call != nil {
		w.call.Cancel(reason)
		w.call = nil
	}
	return left
}

// plain takes the ids of subscriptions, which the handshake era does not have, out
// of notifications.
func plain(messages []mcp.Message) []mcp.Message {
	for i, m := range messages {
		meta := m.Param("_meta")
		if meta.Empty() || m.Kind() != mcp.Notification {
			continue
		}
		left := mcp.Without(m.At(meta), mcp.MetaSubscription)
		if len(left) > len("{}") {
			messages[i] = m.Replace(meta, left)
		} else {
			messages[i] = m.Replace(m.Param(), mcp.Without(m.Params(), "_meta"))
		}
	}
	return messages
}
