package httpfront

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"mcpgateway/policy"
)

// at sends a request to a path.
func (g *gateway) at(method, path, body string, headers ...string) reply {
	g.t.Helper()
	r := g.request(method, "echo", body, headers...)
	var err error
	if r.URL, err = r.URL.Parse(path); err != nil {
		g.t.Fatal(err)
	}
	response, err := g.client.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, string(text)}
}

func withSSE(p *policy.Policy) { p.HTTP.SSE = true }

// overSSE opens a stream and returns it and where its messages go.
func (g *gateway) overSSE(server string) (*following, string) {
	g.t.Helper()
	stream := g.open("GET", server+"/sse", "")
	first := eventsOf(stream, 1)
	if len(first) != 1 || first[0].name != "endpoint" || !strings.HasPrefix(first[0].data, "/servers/"+server+"/sse/") {
		g.t.Fatalf("got %+v", first)
	}
	return stream, first[0].data
}

func TestSSE(t *testing.T) {
	g := newGateway(t, withSSE)
	stream, messages := g.overSSE("echo")
	send := func(body string) {
		t.Helper()
		if got := g.at("POST", messages, body, "Accept:"); got.status != http.StatusAccepted || got.body != "" {
			t.Errorf("%s: got %+v", body, got)
		}
	}
	send(strings.Replace(initializeBody, "2025-11-25", "2024-11-05", 1))
	if got := events(t, stream, 1); len(got) != 1 || !strings.Contains(got[0], `"protocolVersion":"2024-11-05"`) {
		t.Errorf("got %q", got)
	}
	send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	send(toolCall(`"c"`, "ask", ""))
	if got := eventsOf(stream, 1); len(got) != 1 || got[0].name != "message" || got[0].id != "" || !strings.Contains(got[0].data, "sampling") {
		t.Errorf("got %+v", got)
	}
	send(answer)
	if got := events(t, stream, 1); len(got) != 1 || !strings.Contains(got[0], `"id":"c","result"`) || !strings.Contains(got[0], `\"n\":1e3`) {
		t.Errorf("got %q", got)
	}
	send(toolCall("3", "log", ""))
	if got := strings.Join(events(t, stream, 3), " "); !strings.Contains(got, "tools/list_changed") || !strings.Contains(got, `"id":3`) {
		t.Errorf("got %s", got)
	}
	tests := []struct {
		name, method, path, body string
		headers                  []string
		status                   int
	}{
		{"another's stream", "POST", messages, answer, []string{"Authorization: Bearer " + g.other}, 404},
		{"no key", "POST", messages, answer, []string{"Authorization:"}, 401},
		{"no stream", "POST", messages + "x", answer, nil, 404},
		{"another server", "POST", strings.Replace(messages, "echo", "crash", 1), answer, nil, 404},
		{"no JSON", "POST", messages, "{", nil, 400},
		{"content type", "POST", messages, answer, []string{"Content-Type: text/plain"}, 415},
		{"unknown revision", "POST", messages, answer, []string{"MCP-Protocol-Version: 1999-01-01"}, 400},
		{"its revision", "POST", messages, `{"jsonrpc":"2.0","method":"a"}`, []string{"MCP-Protocol-Version: 2024-11-05"}, 202},
		{"foreign origin", "POST", messages, answer, []string{"Origin: https://evil.example"}, 403},
		{"message to the stream", "POST", "/servers/echo/sse", answer, nil, 405},
		{"stream from the messages", "GET", messages, "", nil, 405},
		{"accept", "GET", "/servers/echo/sse", "", []string{"Accept: application/json"}, 406},
		{"no such server", "GET", "/servers/none/sse", "", nil, 404},
	}
	for _, test := range tests {
		if got := g.at(test.method, test.path, test.body, test.headers...); got.status != test.status {
			t.Errorf("%s: got %+v, want %d", test.name, got, test.status)
		}
	}
	stream.cut()
	g.opener.Wait() // the session ends with its stream
	if got := g.at("POST", messages, answer); got.status != http.StatusNotFound {
		t.Errorf("after the stream: got %+v", got)
	}
}

// The stream ends with its session.
func TestSSEEndsWithItsServer(t *testing.T) {
	g := newGateway(t, withSSE)
	stream, messages := g.overSSE("crash")
	g.at("POST", messages, initializeBody)
	g.at("POST", messages, toolCall("1", "x", ""))
	got := strings.Join(events(t, stream, 9), " ")
	if !strings.Contains(got, `server \"crash\" exited with status 3`) {
		t.Errorf("got %s", got)
	}
}

func TestSSEStreamsOfOneCaller(t *testing.T) {
	g := newGateway(t, func(p *policy.Policy) { p.HTTP.SSE, p.Limits.MaxSessionsPerCaller = true, 1 })
	g.overSSE("echo")
	if got := g.at("GET", "/servers/echo/sse", ""); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("got %+v", got)
	}
}

// What a client has sent and the server does not take is bounded.
func TestSSEInboxIsBounded(t *testing.T) {
	g := newGateway(t, withSSE)
	_, messages := g.overSSE("silent")
	body := `{"jsonrpc":"2.0","method":"a","params":{"x":"` + strings.Repeat("x", 1<<19) + `"}}`
	g.at("POST", messages, initializeBody) // never answered
	for range 20 {
		if got := g.at("POST", messages, body); got.status == http.StatusServiceUnavailable {
			return
		}
	}
	t.Error("got 10 MiB accepted")
}

func TestGoSDKClientOverSSE(t *testing.T) {
	for _, revision := range []string{"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"} {
		t.Run(revision, func(t *testing.T) {
			g := newGateway(t, withSSE)
			client := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil)
			session, err := client.Connect(t.Context(), &sdk.SSEClientTransport{
				Endpoint: g.url + "/servers/echo/sse", HTTPClient: &http.Client{Transport: authorized{g.key}},
			}, &sdk.ClientSessionOptions{ProtocolVersion: revision})
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			if got := session.InitializeResult().ProtocolVersion; got != revision {
				t.Errorf("got revision %s", got)
			}
			if tools, err := session.ListTools(t.Context(), nil); err != nil || len(tools.Tools) != 1 {
				t.Errorf("got %+v, %v", tools, err)
			}
			if result, err := session.CallTool(t.Context(), &sdk.CallToolParams{Name: "pid"}); err != nil || result.IsError {
				t.Errorf("got %+v, %v", result, err)
			}
		})
	}
}

// Each listener serves what it is for.
func TestListenersServeTheirOwn(t *testing.T) {
	for _, test := range []struct {
		name              string
		listeners         func(net.Listener) Listeners
		change            func(*policy.Policy)
		streamable, overS int // status of a POST to …/mcp, of a POST to …/sse
	}{
		{"HTTP", func(l net.Listener) Listeners { return Listeners{HTTP: []net.Listener{l}} }, nil, 200, 404},
		{"HTTP with HTTP+SSE", func(l net.Listener) Listeners { return Listeners{HTTP: []net.Listener{l}} }, withSSE, 200, 405},
		{"HTTP+SSE", func(l net.Listener) Listeners { return Listeners{SSE: []net.Listener{l}} }, nil, 404, 405},
		{"WebSocket", func(l net.Listener) Listeners { return Listeners{WebSocket: []net.Listener{l}} }, withSSE, 404, 404},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newGatewayOn(t, test.listeners, test.change)
			if got := g.do("POST", "echo", initializeBody); got.status != test.streamable {
				t.Errorf("streamable: got %+v, want %d", got, test.streamable)
			}
			if got := g.at("POST", "/servers/echo/sse", initializeBody); got.status != test.overS {
				t.Errorf("HTTP+SSE: got %+v, want %d", got, test.overS)
			}
		})
	}
}
