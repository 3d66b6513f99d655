package httpfront

import (
	"net/http"
	"strings"
	"testing"

	"mcpgateway/proxy/mcp"
)

func TestBatch(t *testing.T) {
	g := newGateway(t, nil)
	session := g.sessionOf("echo", "2025-03-26")
	notification := `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	call := toolCall("1", "again", "")
	many := "[" + strings.Repeat(notification+",", maxBatch) + notification + "]"
	tests := []struct {
		name, body string
		headers    []string
		status     int
		want       string
	}{
		{"one request", " [" + call + "] ", nil, 200, `"id":1`},
		{"notifications", "[" + notification + ",\n" + notification + "]", nil, 202, ""},
		{"responses", "[" + answer + "," + answer + "]", nil, 202, ""},
		{"as many as may be", "[" + strings.Repeat(notification+",", maxBatch-1) + notification + "]", nil, 202, ""},
		{"too many", many, nil, 400, "more than 64 messages"},
		{"empty", "[]", nil, 400, "the batch is empty"},
		{"cut", "[" + call, nil, 400, `"code":-32700`},
		{"text behind", "[" + call + "]x", nil, 400, `"code":-32700`},
		{"no message", "[" + call + ",{}]", nil, 400, `"code":-32600`},
		{"batch in a batch", "[[" + call + "]]", nil, 400, `"code":-32600`},
		{"duplicate key", `[{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}]`, nil, 400, `"code":-32700`},
		{"both", "[" + call + "," + answer + "]", nil, 400, "but not both"},
		{"initialize", "[" + initializeBody + "]", nil, 400, "initialize is no part of a batch"},
		{"no session", "[" + call + "]", []string{mcp.HeaderSession + ":"}, 400, ""},
		{"unknown session", "[" + call + "]", []string{mcp.HeaderSession + ": x"}, 404, "no such session"},
		{"another revision", "[" + call + "]", []string{g.session("echo")}, 400, "batches are of revision 2025-03-26 only"},
		{"stateless era", "[" + call + "]", []string{"MCP-Protocol-Version: 2026-07-28"}, 400, "this revision has no batches"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := g.do("POST", "echo", test.body, append([]string{session}, test.headers...)...)
			if got.status != test.status || !strings.Contains(got.body, test.want) {
				t.Errorf("got %d %s, want %d and %s", got.status, got.body, test.status, test.want)
			}
		})
	}
}

// One of a batch's calls does not hold up the others.
func TestBatchIsServedTogether(t *testing.T) {
	g := newGateway(t, nil)
	session := g.sessionOf("echo", "2025-03-26")
	stream := g.open("POST", "echo", "["+toolCall("1", "ask", "")+","+toolCall("2", "again", "")+`,{"jsonrpc":"2.0","id":3,"method":"ping"}]`, session)
	if got := strings.Join(events(t, stream, 3), " "); !strings.Contains(got, "sampling") || !strings.Contains(got, `"id":2,`) || !strings.Contains(got, `"id":3,`) {
		t.Errorf("got %s", got)
	}
	if got := g.do("POST", "echo", answer, session); got.status != http.StatusAccepted {
		t.Errorf("got %+v", got)
	}
	if got := events(t, stream, 9); len(got) != 1 || !strings.Contains(got[0], `"id":1,"result"`) {
		t.Errorf("got %q", got)
	}
}
