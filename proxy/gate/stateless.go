package gate

import (
	"context"
	"errors"
	"strings"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// stateless serves a request of the stateless era from the instance that the
// gateway holds for its caller. The server is of the handshake era; the gateway
// is its client.
func (g *Gate) stateless(ctx context.Context, r Request) (Reply, error) {
	if r.Message.Kind() != mcp.Request {
		return Reply{}, nil // that era has no notification that means anything over HTTP
	}
	if gone(r.Message.Method()) {
		return Reply{}, &MethodError{r.Message.Method()}
	}
	reply, err := g.onInstance(ctx, r)
	var ended *link.EndedError
	if errors.As(err, &ended) { // between being found and being called: there is a new one now
		reply, err = g.onInstance(ctx, r)
	}
	return reply, err
}

func (g *Gate) onInstance(ctx context.Context, r Request) (Reply, error) {
	conn, err := g.pool.ForCaller(ctx, g.spec(r.Scope.Server), r.Caller.Subject)
	if err != nil {
		return Reply{}, err
	}
	if r.Message.Method() == mcp.MethodDiscover {
		return Reply{Call: link.Answered(discovered(r.Message.ID(), conn.Hello()))}, nil
	}
	call, err := conn.Call(ctx, r.Message)
	if err != nil {
		return Reply{}, err
	}
	return Reply{Call: &completed{call, r.Message.Method()}}, nil
}

// completed is a call whose response takes the shape of the stateless era.
type completed struct {
	link.Call
	method string
}

// Take returns what has come, in order.
func (c *completed) Take() []mcp.Message {
	messages := c.Call.Take()
	if n := len(messages); n > 0 && messages[n-1].Kind() == mcp.Response {
		messages[n-1] = messages[n-1].Complete(c.method)
	}
	return messages
}

// gone reports whether a method is of the handshake era alone (2026-07-28,
// changelog), or one that the gateway does not offer yet.
func gone(method string) bool {
	switch method {
	case mcp.MethodInitialize, mcp.MethodPing, "logging/setLevel", "resources/subscribe", "resources/unsubscribe",
		"subscriptions/listen":
		return true
	}
	return strings.HasPrefix(method, "tasks/")
}

// discovered makes the answer to server/discover of a server's answer to
// initialize.
func discovered(id []byte, hello mcp.Message) mcp.Message {
	result := []byte(`{"supportedVersions":["` + mcp.Revision2026July + `"],"capabilities":`)
	result = append(result, capabilities(hello.At(hello.InResult("capabilities")))...)
	if info := hello.InResult("serverInfo"); !info.Empty() {
		result = append(result, `,"_meta":{"`+mcp.MetaServerInfo+`":`...)
		result = append(append(result, hello.At(info)...), '}')
	}
	if text := hello.InResult("instructions"); !text.Empty() {
		result = append(append(result, `,"instructions":`...), hello.At(text)...)
	}
	return mcp.NewResult(id, append(result, '}')).Complete(mcp.MethodDiscover)
}

// capabilities leaves out what needs a stream or a state that the gateway does
// not translate: log levels, subscriptions, notices of changed lists, tasks.
func capabilities(offered []byte) []byte {
	return mcp.Edit(offered, func(name string, value []byte) ([]byte, bool) {
		switch name {
		case "logging", "tasks":
			return nil, false
		case "tools", "prompts", "resources":
			return mcp.Edit(value, func(name string, value []byte) ([]byte, bool) {
				return value, name != "listChanged" && name != "subscribe"
			}), true
		}
		return value, true
	})
}
