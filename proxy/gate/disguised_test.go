package gate

import (
	"errors"
	"testing"

	"mcpgateway/proxy/mcp"
)

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
