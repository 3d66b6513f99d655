package bridge

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

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
	return w.client.say("").prepare(mcp.NewRequest(id, mcp.MethodListen, append(filter, "}}"...)))
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
