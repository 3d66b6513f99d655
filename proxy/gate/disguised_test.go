package gate

import (
	"errors"
	"testing"

	"mcpgateway/proxy/mcp"
)

// Many servers, those in Go among them, take METHOD for method: the rules must not see
// another request than they do.
func TestLookalikesDoNotPass(t *testing.T) {
	g, _ := newGate(t)
	u := &user{t: t, gate: g, caller: caller("key:a", "echo"), scope: on("echo")}
	u.open()
	for _, text := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"ping","METHOD":"tools/call","params":{"name":"echo"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"},"Params":{"name":"echo"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"},"param\u017f":{"name":"echo"}}`,
		`{"jsonrpc":"2.0","ID":1,"method":"notifications/x"}`,
		`{"jsonrpc":"2.0","id":1,"result":{},"METHOD":"tools/call","Params":{"name":"echo"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"echo"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"NAME":"echo"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Arguments":{}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a:b","Uri":"file:///etc/passwd"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"a","NAME":"b"}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"resourcesubscriptions":["a:b"]}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"progresstoken":1}}}`,
	} {
		m, err := mcp.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		_, err = g.Do(t.Context(), Request{Caller: u.caller, Scope: u.scope, Session: u.session, Message: m})
		if _, ok := errors.AsType[*DisguisedError](err); !ok {
			t.Errorf("%s: got %v, want it refused", text, err)
		}
	}
	u.answer(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"Name":"x","URI":"y"},"Other":1},"Extension":1}`)
}

// A request without an id is a notification to JSON-RPC, which many servers act on. It
// passes no guard, and so it must not pass at all.
func TestRequestsWithoutAnIDDoNotPass(t *testing.T) {
	g, _ := newGate(t)
	u := &user{t: t, gate: g, caller: caller("key:a", "echo"), scope: on("echo")}
	u.open()
	for _, text := range []string{
		`{"jsonrpc":"2.0","method":"tools/call","params":{"name":"echo","arguments":{}}}`,
		`{"jsonrpc":"2.0","method":"tool\u0073/call","params":{"name":"echo"}}`,
		`{"jsonrpc":"2.0","method":"resources/read","params":{"uri":"file:///etc/passwd"}}`,
		`{"jsonrpc":"2.0","method":"anything"}`,
	} {
		m, err := mcp.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		_, err = g.Do(t.Context(), Request{Caller: u.caller, Scope: u.scope, Session: u.session, Message: m})
		var disguised *DisguisedError
		if !errors.As(err, &disguised) || RefusalOf(err).Reason != Forbidden {
			t.Errorf("%s: got %v, want it refused", text, err)
		}
	}
	u.do(`{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`)
}
