package gate

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/mcp"
)

// frail is a server whose first process ends at the first call, and whose others answer.
func frail() int {
	mark := frailMark(os.Getppid())
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var m struct {
			ID     json.RawMessage
			Method string
		}
		if json.Unmarshal(lines.Bytes(), &m) != nil || m.ID == nil {
			continue
		}
		result := "{}"
		switch m.Method {
		case mcp.MethodInitialize:
			result = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"frail","version":"1"}}`
		case mcp.MethodToolsList:
			result = `{"tools":[{"name":"safe","inputSchema":{"type":"object"},"annotations":{"idempotentHint":true}},{"name":"read","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}},{"name":"unsafe","inputSchema":{"type":"object"}}]}`
		case mcp.MethodToolsCall, mcp.MethodResourcesRead:
			if os.Remove(mark) == nil {
				return 3
			}
			result = `{"content":[],"contents":[]}`
		case mcp.MethodDiscover:
			fmt.Fprintf(os.Stdout, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}`+"\n", m.ID)
			continue
		}
		fmt.Fprintf(os.Stdout, `{"jsonrpc":"2.0","id":%s,"result":%s}`+"\n", m.ID, result)
	}
	return 0
}

// frailMark is the file by which the next process to be called knows that it shall end.
func frailMark(test int) string { return filepath.Join(os.TempDir(), fmt.Sprint("gate-frail-", test)) }

// What a server says of its tools decides which calls of them are made again.
func TestToolsSayWhatIsMadeAgain(t *testing.T) {
	g, _ := newGate(t)
	p := *g.policy
	p.Servers = map[string]policy.Server{"frail": {Timeout: time.Minute, MaxTimeout: time.Minute, IdleTimeout: time.Hour,
		Retry: policy.Retry{Attempts: 3, Backoff: time.Millisecond, MaxBackoff: time.Millisecond}}}
	g = New(Rules{Policy: &p}, g.fleet, g.sessions)
	u := &user{t: t, gate: g, caller: caller("key:a"), scope: on("frail")}
	t.Cleanup(func() { os.Remove(frailMark(os.Getpid())) })
	ask := func(method, params string) mcp.Message {
		t.Helper()
		if err := os.WriteFile(frailMark(os.Getpid()), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return u.answer(`{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{` + stateless + `,` + params + `}}`)
	}
	if m := ask(mcp.MethodToolsCall, `"name":"safe"`); m.Failure() != mcp.FailureEnded {
		t.Errorf("before its list was seen: got %s, want that it is not made again", m.Raw())
	}
	if got := strings.Join(u.names(stateless), " "); got != "safe read unsafe" {
		t.Fatalf("got tools %s", got)
	}
	for _, tt := range []struct {
		name, method, params string
		again                bool
	}{
		{"idempotent", mcp.MethodToolsCall, `"name":"safe"`, true},
		{"read-only", mcp.MethodToolsCall, `"name":"read"`, true},
		{"neither", mcp.MethodToolsCall, `"name":"unsafe"`, false},
		{"unknown", mcp.MethodToolsCall, `"name":"other"`, false},
		{"a resource", mcp.MethodResourcesRead, `"uri":"a:b"`, true},
	} {
		if m := ask(tt.method, tt.params); (m.Err() == nil) != tt.again || !tt.again && m.Failure() != mcp.FailureEnded {
			t.Errorf("%s: got %s, want it made again: %v", tt.name, m.Raw(), tt.again)
		}
	}
}
