package httpfront

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"mcpgateway/policy"
)

// dial opens a WebSocket as a web page would: the key is among the subprotocols.
func (g *gateway) dial(key string, headers ...string) (*websocket.Conn, int, error) {
	h := http.Header{}
	for _, header := range headers {
		if name, value, ok := strings.Cut(header, ": "); ok {
			h.Set(name, value)
		}
	}
	//nolint:bodyclose // Dial's own
	conn, response, err := websocket.Dial(g.t.Context(), g.url+"/servers/echo/ws", &websocket.DialOptions{
		Subprotocols: []string{"mcp", "mcp.key." + key}, HTTPHeader: h,
	})
	if response == nil {
		return conn, 0, err
	}
	return conn, response.StatusCode, err
}

func TestWebSocket(t *testing.T) {
	for name, listeners := range map[string]func(net.Listener) Listeners{
		"HTTP":      func(l net.Listener) Listeners { return Listeners{HTTP: []net.Listener{l}} },
		"WebSocket": func(l net.Listener) Listeners { return Listeners{WebSocket: []net.Listener{l}} },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGatewayOn(t, listeners, func(p *policy.Policy) { p.HTTP.WebSocket = name == "HTTP" })
			conn, _, err := g.dial(g.key)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.CloseNow()
			if err := conn.Write(t.Context(), websocket.MessageText, []byte(initializeBody)); err != nil {
				t.Fatal(err)
			}
			if _, text, err := conn.Read(t.Context()); err != nil || !strings.Contains(string(text), `"serverInfo":{"name":"echo"`) {
				t.Errorf("got %s, %v", text, err)
			}
			for _, refused := range []struct {
				key, header string
				status      int
			}{{"mcpgw_x_y", "", 401}, {g.key, "Origin: https://evil.example", 403}} {
				if _, status, err := g.dial(refused.key, refused.header); err == nil || status != refused.status {
					t.Errorf("got %d, %v, want %d", status, err, refused.status)
				}
			}
		})
	}
	g := newGateway(t, nil)
	if _, status, err := g.dial(g.key); err == nil || status != http.StatusNotFound {
		t.Errorf("without WebSocket: got %d, %v", status, err)
	}
}

// Connections end with the gateway, which waits for them.
func TestShutdownEndsConnections(t *testing.T) {
	read := make(chan error, 1)
	var listened *following
	t.Run("serving", func(t *testing.T) {
		g := newGateway(t, func(p *policy.Policy) { p.HTTP.WebSocket, p.HTTP.SSE = true, true })
		conn, _, err := g.dial(g.key)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _, err := conn.Read(context.Background())
			read <- err
		}()
		listened, _ = g.overSSE("echo")
	})
	var closed websocket.CloseError
	if err := <-read; !errors.As(err, &closed) || closed.Code != websocket.StatusGoingAway {
		t.Errorf("got %v", err)
	}
	if rest := eventsOf(listened, 1); len(rest) != 0 {
		t.Errorf("got %v", rest)
	}
}

func TestREST(t *testing.T) {
	g := newGateway(t, func(p *policy.Policy) { p.Limits.MaxBodyBytes = 1000 })
	tests := []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		want                     string
	}{
		{"servers", "GET", "/api/v1/servers", "", nil, 200, `"echo"`},
		{"a call", "POST", "/api/v1/servers/echo/tools/again", `{"n":1e3}`, []string{"Accept:"}, 200, `1e3`},
		{"no key", "GET", "/api/v1/servers", "", []string{"Authorization:"}, 401, `"status":401`},
		{"foreign origin", "GET", "/api/v1/servers", "", []string{"Origin: https://evil.example"}, 403, `"status":403`},
		{"method", "PUT", "/api/v1/servers", "", nil, 405, `"status":405`},
		{"no such server", "GET", "/api/v1/servers/none/tools", "", nil, 404, `"status":404`},
		{"another's server", "GET", "/api/v1/servers/crash/tools", "", []string{"Authorization: Bearer " + g.other}, 404, `"status":404`},
		{"too large", "POST", "/api/v1/servers/echo/tools/again", `{"x":"` + strings.Repeat("x", 1000) + `"}`, nil, 413, `"status":413`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := g.at(test.method, test.path, test.body, test.headers...)
			if got.status != test.status || !strings.Contains(got.body, test.want) {
				t.Errorf("got %+v, want %d and %s", got, test.status, test.want)
			}
			if kind := got.header.Get("Content-Type"); got.status >= 400 && kind != "application/problem+json" {
				t.Errorf("got a problem of type %s", kind)
			}
		})
	}
	if got := g.at("HEAD", "/api/v1/servers", ""); got.status != http.StatusOK {
		t.Errorf("HEAD: got %+v", got)
	}
	if got := g.do("HEAD", "echo", ""); got.status != http.StatusMethodNotAllowed {
		t.Errorf("HEAD of MCP: got %+v", got)
	}
}

// A client reaches the servers of a project, or all that it may use, at one
// address; each of them is a scope of its own.
func TestScopes(t *testing.T) {
	g := newGateway(t, func(p *policy.Policy) {
		for _, name := range []string{"echo", "modern"} {
			server := p.Servers[name]
			server.Project = "team"
			p.Servers[name] = server
		}
		p.Servers = map[string]policy.Server{"echo": p.Servers["echo"], "modern": p.Servers["modern"]}
	})
	for _, path := range []string{"/projects/team/mcp", "/mcp"} {
		got := g.at("POST", path, statelessBody("1", "tools/list", ""), statelessHeadersFor("tools/list", "")...)
		if got.status != http.StatusOK || !strings.Contains(got.body, "echo__echo") || !strings.Contains(got.body, "modern__echo") {
			t.Errorf("%s: got %+v", path, got)
		}
		opened := g.at("POST", path, initializeBody)
		session := "Mcp-Session-Id: " + opened.header.Get("Mcp-Session-Id")
		if got := g.at("POST", path, toolCall("1", "echo__again", ""), session); got.status != http.StatusOK || !strings.Contains(got.body, `"result"`) {
			t.Errorf("%s: got %+v", path, got)
		}
		if got := g.do("POST", "echo", toolCall("1", "again", ""), session); got.status != http.StatusNotFound {
			t.Errorf("%s: its session elsewhere: got %+v", path, got)
		}
	}
	if got := g.at("POST", "/projects/none/mcp", initializeBody); got.status != http.StatusNotFound {
		t.Errorf("got %+v", got)
	}
}
