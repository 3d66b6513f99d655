package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	rpc "google.golang.org/grpc/status"

	"mcpgateway/proxy/grpcfront/gatewaypb"
)

// asker is a caller who asks in every way there is.
type asker struct {
	g   *gateway
	key string
}

// fate is what became of a request, in whatever way.
type fate struct {
	kind        string // "ok", or how the way says that it was not: "403", "PermissionDenied", "error"
	text        string // the result, or what says why there is none
	correlation string // HTTP alone
	header      http.Header
}

func fateOf(answer []byte) fate {
	var m struct{ Result, Error json.RawMessage }
	if err := json.Unmarshal(answer, &m); err != nil {
		return fate{kind: "no JSON", text: string(answer)}
	}
	if m.Error != nil {
		return fate{kind: "error", text: string(m.Error)}
	}
	return fate{kind: "ok", text: string(m.Result)}
}

// request is a JSON-RPC request of the stateless era; params are members of an object.
func modern(method, params string) string {
	if params != "" {
		params = "," + params
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":{"_meta":{%s}%s}}`, method, statelessMeta, params)
}

// named is what a request of HTTP must repeat in a header.
func named(params string) string {
	var p struct{ Name, URI string }
	_ = json.Unmarshal([]byte("{"+params+"}"), &p) // what is missing stays empty
	return p.Name + p.URI
}

// http asks by Streamable HTTP, in the stateless era.
func (c asker) http(t *testing.T, at, method, params string) fate {
	t.Helper()
	s := &session{url: c.g.addresses.HTTP + at + "/mcp", key: c.key}
	headers := map[string]string{"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method}
	if name := named(params); name != "" {
		headers["Mcp-Name"] = name
	}
	return httpFate(s.do(t, http.MethodPost, modern(method, params), headers))
}

func httpFate(a answer) fate {
	o := fateOf(a.message)
	if a.status != http.StatusOK {
		o.kind = fmt.Sprint(a.status)
	}
	o.header, o.correlation = a.header, a.header.Get("Mcp-Gateway-Request-Id")
	return o
}

// session asks in a session of its own, of the handshake era.
func (c asker) session(t *testing.T, at, method, params string) fate {
	t.Helper()
	s := &session{url: c.g.addresses.HTTP + at + "/mcp", key: c.key}
	if a := s.open(t); a.status != http.StatusOK {
		return httpFate(a)
	}
	defer s.end(t)
	return httpFate(s.post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":{%s}}`, method, params)))
}

// socket asks over a WebSocket, in the stateless era.
func (c asker) socket(t *testing.T, at, method, params string) fate {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, response, err := websocket.Dial(ctx, strings.Replace(c.g.addresses.HTTP, "http", "ws", 1)+at+"/ws",
		&websocket.DialOptions{Subprotocols: []string{"mcp"}, HTTPHeader: http.Header{"X-Api-Key": {c.key}}})
	if response != nil && response.Body != nil {
		defer response.Body.Close()
	}
	if err != nil {
		if response == nil {
			t.Fatal(err)
		}
		return fate{kind: fmt.Sprint(response.StatusCode)}
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxAnswer)
	if err := conn.Write(ctx, websocket.MessageText, []byte(modern(method, params))); err != nil {
		t.Fatal(err)
	}
	_, answer, err := conn.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return fateOf(answer)
}

// scoped is the scope of a path.
func scoped(at string) *gatewaypb.Scope {
	_, rest, _ := strings.Cut(at, "/")
	switch kind, name, _ := strings.Cut(rest, "/"); kind {
	case "servers":
		return &gatewaypb.Scope{To: &gatewaypb.Scope_Server{Server: name}}
	case "projects":
		return &gatewaypb.Scope{To: &gatewaypb.Scope_Project{Project: name}}
	}
	return nil
}

// dial connects by gRPC; the context has the key.
func (c asker) dial(t *testing.T) (gatewaypb.GatewayClient, context.Context) {
	t.Helper()
	conn, err := grpc.NewClient(c.g.addresses.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+c.key), patience)
	t.Cleanup(cancel)
	return gatewaypb.NewGatewayClient(conn), ctx
}

// grpc asks by gRPC.
func (c asker) grpc(t *testing.T, at, method, params string) fate {
	t.Helper()
	client, ctx := c.dial(t)
	answer, err := client.Call(ctx, &gatewaypb.CallRequest{Scope: scoped(at), Method: method, ParamsJson: "{" + params + "}"})
	if code := rpc.Code(err); code != codes.OK {
		return fate{kind: code.String(), text: err.Error()}
	}
	return fate{kind: "ok", text: answer.GetResultJson()}
}

// rest asks by REST, at a path below /api/v1.
func (c asker) rest(t *testing.T, path, body string) fate {
	t.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	request, err := http.NewRequestWithContext(t.Context(), method, c.g.addresses.HTTP+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-API-Key", c.key)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	kind := "ok"
	if response.StatusCode != http.StatusOK {
		kind = fmt.Sprint(response.StatusCode)
	}
	return fate{kind, string(content), response.Header.Get("Mcp-Gateway-Request-Id"), response.Header}
}

// asking is one of the ways to ask MCP.
type asking func(t *testing.T, at, method, params string) fate

func (c asker) ways() map[string]asking {
	return map[string]asking{"http": c.http, "session": c.session, "websocket": c.socket, "grpc": c.grpc}
}

// record is a line of the audit log.
type record struct {
	Sequence    uint64 `json:"seq"`
	Event       string `json:"event"`
	Correlation string `json:"correlation"`
	Trace       string `json:"trace"`
	Subject     string `json:"subject"`
	User        string `json:"user"`
	Auth        string `json:"auth"`
	Source      string `json:"source"`
	Transport   string `json:"transport"`
	Project     string `json:"project"`
	Server      string `json:"server"`
	Instance    string `json:"instance"`
	Method      string `json:"method"`
	Name        string `json:"name"`
	Decision    string `json:"decision"`
	Rule        string `json:"rule"`
	Status      string `json:"status"`
	Reason      string `json:"reason"`
	Duration    int64  `json:"duration_us"`
	BytesIn     int64  `json:"bytes_in"`
	BytesOut    int64  `json:"bytes_out"`
	Digest      string `json:"arguments_digest"`
}

// audited is the section that has a gateway write an audit log in a folder.
func audited(dir string, more ...string) string {
	return fmt.Sprintf("audit: {enabled: true, file: %q%s}\n", dir+"/audit.log", strings.Join(append([]string{""}, more...), ", "))
}

// records are those of an audit log that a test wants.
func records(t *testing.T, path string, wanted func(record) bool) (found []record) {
	t.Helper()
	for line := range strings.Lines(string(mustRead(t, path))) {
		var r record
		if !strings.HasSuffix(line, "\n") || line == "\n" {
			continue // it is being written, or comes before another chain
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if wanted(r) {
			found = append(found, r)
		}
	}
	return found
}
