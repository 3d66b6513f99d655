package httpfront

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"mcpgateway/proxy/mcp"
)

const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}%s}`

// statelessBody is a request with the _meta of the stateless era.
func statelessBody(id, method, params string) string {
	if params != "" {
		params = "," + params
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":%q,"params":{%s%s}}`, id, method, fmt.Sprintf(meta, ""), params)
}

func statelessHeadersFor(method, name string) []string {
	headers := []string{"MCP-Protocol-Version: 2026-07-28", "Mcp-Method: " + method}
	if name != "" {
		headers = append(headers, "Mcp-Name: "+name)
	}
	return headers
}

func TestStateless(t *testing.T) {
	g := newGateway(t, nil)
	tests := []struct {
		name, method, tool, params string
		status                     int
		want                       []string
	}{
		{"discover", "server/discover", "", "", 200, []string{
			`"supportedVersions":["2026-07-28","2025-11-25",`, `"capabilities":{"tools":{"listChanged":true},"logging":{},"resources":{"subscribe":true,"x":1e3}}`,
			`"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"echo","version":"1.0"}}`,
			`"instructions":"be kind"`, `"resultType":"complete"`, `"ttlMs":0`, `"cacheScope":"private"`}},
		{"list", "tools/list", "", "", 200, []string{`"resultType":"complete","ttlMs":0,"cacheScope":"private",`, `"tools":[`}},
		{"call", "tools/call", "again", `"name":"again","arguments":{"n":9007199254740993}`, 200, []string{
			`"result":{"resultType":"complete",`, `9007199254740993`, `"x-server":"kept"`, `"id":1e0`}},
		{"resource not found", "resources/read", "file:///x", `"uri":"file:///x"`, 200, []string{`"code":-32602`}},
		{"unknown method", "some/method", "", "", 404, []string{`"code":-32601`}},
		{"initialize", "initialize", "", "", 404, []string{`"code":-32601`}},
		{"ping", "ping", "", "", 404, []string{`"code":-32601`}},
		{"set level", "logging/setLevel", "", "", 404, []string{`"code":-32601`}},
		{"subscribe", "resources/subscribe", "", "", 404, []string{`"code":-32601`}},
		{"tasks", "tasks/list", "", "", 404, []string{`"code":-32601`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := g.do("POST", "echo", statelessBody("1e0", test.method, test.params), statelessHeadersFor(test.method, test.tool)...)
			if got.status != test.status || got.header.Get(mcp.HeaderSession) != "" {
				t.Errorf("got %+v, want status %d and no session", got, test.status)
			}
			for _, want := range test.want {
				if !strings.Contains(got.body, want) {
					t.Errorf("got %s, want %s in it", got.body, want)
				}
			}
		})
	}
	if got := g.opener.Opened(); len(got) != 2 { // the first was asked for its era
		t.Errorf("got sandboxes %v for one caller, want two", got)
	}
}

func TestStatelessCallersHaveInstancesOfTheirOwn(t *testing.T) {
	g := newGateway(t, nil)
	body, headers := statelessBody("1", "tools/call", `"name":"pid"`), statelessHeadersFor("tools/call", "pid")
	mine := g.do("POST", "echo", body, headers...)
	again := g.do("POST", "echo", body, headers...)
	others := g.do("POST", "echo", body, append(headers, "Authorization: Bearer "+g.other)...)
	if mine.body != again.body || mine.body == others.body {
		t.Errorf("got %s, again %s, the other caller %s", mine.body, again.body, others.body)
	}
}

func TestStatelessRestartsACrashedServer(t *testing.T) {
	g := newGateway(t, nil)
	for range 2 {
		got := g.do("POST", "crash", statelessBody("1", "tools/call", `"name":"x"`), statelessHeadersFor("tools/call", "x")...)
		if got.status != http.StatusOK || !strings.Contains(got.body, `server \"crash\" exited with status 3`) {
			t.Errorf("got %+v", got)
		}
	}
}

func TestStatelessProgress(t *testing.T) {
	g := newGateway(t, nil)
	body := `{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"progress","arguments":{"n":2},` + fmt.Sprintf(meta, `,"progressToken":"t\u0031"`) + `}}`
	got := g.do("POST", "echo", body, statelessHeadersFor("tools/call", "progress")...)
	data := events(t, strings.NewReader(got.body), 9)
	if len(data) != 3 || !strings.Contains(data[0], `"progressToken":"t\u0031"`) || !strings.Contains(data[2], `"id":5,"result":{"resultType":"complete"`) {
		t.Errorf("got events %q", data)
	}
}

func TestStatelessHeaders(t *testing.T) {
	g := newGateway(t, nil)
	call := statelessBody("1", "tools/call", `"name":"Größe"`)
	encoded := "=?base64?" + base64.StdEncoding.EncodeToString([]byte("Größe")) + "?="
	tests := []struct {
		name, body string
		headers    []string
		status     int
		want       string
	}{
		{"all right", call, statelessHeadersFor("tools/call", encoded), 200, `"result"`},
		{"no version", call, []string{"Mcp-Method: tools/call", "Mcp-Name: " + encoded}, 400, `"id":1,"error":{"code":-32020`},
		{"other version", call, []string{"MCP-Protocol-Version: 2025-11-25", "Mcp-Method: tools/call"}, 400, `"code":-32020`},
		{"unknown version", strings.ReplaceAll(call, "2026-07-28", "2099-01-01"), []string{"MCP-Protocol-Version: 2099-01-01"}, 400,
			`"code":-32022,"message":"unsupported protocol version","data":{"supported":["2026-07-28"`},
		{"no method", call, []string{"MCP-Protocol-Version: 2026-07-28"}, 400, `"code":-32020`},
		{"other method", call, statelessHeadersFor("tools/list", ""), 400, `"code":-32020`},
		{"method in another case", call, statelessHeadersFor("Tools/call", encoded), 400, `"code":-32020`},
		{"no name", call, statelessHeadersFor("tools/call", ""), 400, `"code":-32020`},
		{"other name", call, statelessHeadersFor("tools/call", "x"), 400, `"code":-32020`},
		{"raw name", call, statelessHeadersFor("tools/call", "Größe"), 400, `"code":-32020`},
		{"bad base64", call, statelessHeadersFor("tools/call", "=?base64?R3LDtsOfZ?="), 400, `"code":-32020`},
		{"no meta", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, statelessHeadersFor("tools/list", ""), 400, `"code":-32602`},
		{"no capabilities", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`,
			statelessHeadersFor("tools/list", ""), 400, `"code":-32602`},
		{"response", `{"jsonrpc":"2.0","id":1,"result":{}}`, statelessHeadersFor("", ""), 400, `"code":-32600`},
		{"notification", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`, statelessHeadersFor("", ""), 202, ``},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := g.do("POST", "echo", test.body, test.headers...)
			if got.status != test.status || !strings.Contains(got.body, test.want) {
				t.Errorf("got %d %s, want %d and %s", got.status, got.body, test.status, test.want)
			}
		})
	}
	for _, method := range []string{"GET", "DELETE"} {
		got := g.do(method, "echo", "", "MCP-Protocol-Version: 2026-07-28")
		if got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != "POST" {
			t.Errorf("%s: got %+v", method, got)
		}
	}
	twice := g.request("POST", "echo", call, statelessHeadersFor("tools/call", encoded)...)
	twice.Header.Add("Mcp-Name", "x")
	response, err := http.DefaultClient.Do(twice)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("a name sent twice: got %d, want 400", response.StatusCode)
	}
}

// In the stateless era a disconnect cancels: the server hears of it.
func TestStatelessDisconnectCancels(t *testing.T) {
	g := newGateway(t, nil)
	listening := g.do("POST", "echo", statelessBody("1", "tools/list", ""), statelessHeadersFor("tools/list", "")...)
	if listening.status != http.StatusOK {
		t.Fatalf("got %+v", listening)
	}
	ctx, cancel := context.WithCancel(t.Context())
	body := `{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"notify-then-wait",` + fmt.Sprintf(meta, `,"progressToken":1`) + `}}`
	response, err := http.DefaultClient.Do(g.request("POST", "echo", body, statelessHeadersFor("tools/call", "notify-then-wait")...).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	if got := events(t, bufio.NewReader(response.Body), 1); len(got) != 1 {
		t.Fatalf("got %q", got)
	}
	cancel()
	response.Body.Close()
	// Answers when the server was told of the cancellation.
	got := g.do("POST", "echo", statelessBody("6", "tools/call", `"name":"cancelled"`), statelessHeadersFor("tools/call", "cancelled")...)
	if !strings.Contains(got.body, "the client has disconnected") {
		t.Errorf("got %+v", got)
	}
}

// The headers that repeat a tool's parameters are checked by the definition that
// the server gives; one that has changed is asked for again before a call is
// refused.
func TestParameterHeaders(t *testing.T) {
	g := newGateway(t, nil)
	call := func(header, region string) reply {
		body := statelessBody("1", "tools/call", `"name":"again","arguments":{"region":`+region+`}`)
		return g.do("POST", "mirror", body, append(statelessHeadersFor("tools/call", "again"), header)...)
	}
	if got := call("Mcp-Param-Region1: eu", `"eu"`); got.status != http.StatusOK || !strings.Contains(got.body, `"result"`) {
		t.Errorf("the same: got %+v", got)
	}
	if got := call("Mcp-Param-Region2: eu", `"eu"`); got.status != http.StatusOK {
		t.Errorf("by the definition of now: got %+v", got)
	}
	for _, refused := range []reply{call("Mcp-Param-Region3: us", `"eu"`), call("X-Other: eu", `"eu"`)} {
		if refused.status != http.StatusBadRequest || !strings.Contains(refused.body, `"id":1,"error":{"code":-32020`) {
			t.Errorf("got %+v", refused)
		}
	}
	if got := call("X-Other: eu", "null"); got.status != http.StatusOK {
		t.Errorf("without a value: got %+v", got)
	}
}

// Without a definition nothing can be checked: a call passes if it has nothing that
// somebody on the way may have believed.
func TestParameterHeadersWithoutDefinition(t *testing.T) {
	g := newGateway(t, nil)
	call := func(headers ...string) reply {
		return g.do("POST", "listless", statelessBody("1", "tools/call", `"name":"again"`), append(statelessHeadersFor("tools/call", "again"), headers...)...)
	}
	if got := call(); got.status != http.StatusOK || !strings.Contains(got.body, `"result"`) {
		t.Errorf("got %+v", got)
	}
	if got := call("Mcp-Param-Region: eu"); strings.Contains(got.body, `"result"`) || !strings.Contains(got.body, "No list today") {
		t.Errorf("with a header: got %+v", got)
	}
}

// A subscription is a stream from the start, and ends with the connection.
func TestSubscription(t *testing.T) {
	g := newGateway(t, nil)
	for _, server := range []string{"echo", "modern"} {
		stream := g.open("POST", server, statelessBody("7", "subscriptions/listen", `"notifications":{"toolsListChanged":true}`),
			append(statelessHeadersFor("subscriptions/listen", ""), "Last-Event-ID: c1-0")...)
		first := eventsOf(stream, 1)
		if len(first) != 1 || first[0].id != "" || first[0].retry != "" || !strings.Contains(first[0].data, "notifications/subscriptions/acknowledged") {
			t.Errorf("server %s: got %+v", server, first)
		}
		stream.cut()
	}
}
