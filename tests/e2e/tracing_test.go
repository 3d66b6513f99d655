package e2e_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/metadata"

	"mcpgateway/proxy/grpcfront/gatewaypb"
	"mcpgateway/proxy/proxytest"
)

// traced is a gateway whose spans a receiver gets.
type traced struct {
	*trail
	receiver *proxytest.Receiver
	calls    int
}

// startTraced starts one that sends over a protocol, by TLS.
func startTraced(t *testing.T, protocol string) *traced {
	t.Helper()
	r := proxytest.NewReceiver(t, true)
	endpoint := map[string]string{"grpc": r.GRPC, "http": r.HTTP}[protocol]
	file := filepath.Join(folder(t), "ca.pem")
	if err := os.WriteFile(file, r.PEM, 0o644); err != nil {
		t.Fatal(err)
	}
	section := fmt.Sprintf("gateway: {name: traced}\ntracing: {endpoint: %q, protocol: %s, ca_file: %q, headers: {x-tenant: hidden-tenant}}\n", endpoint, protocol, file)
	return &traced{startAudited(t, section, servers(testserver("test"), testserver("other"))), r, 0}
}

// A client's contexts. Each call has a trace of its own.
const (
	clientSpan = "00f067aa0ba902b7"
	headerSpan = "b7ad6b7169203331"
)

func (g *traced) next() (trace string) {
	g.calls++
	return fmt.Sprintf("4bf92f3577b34da6a3ce929d0e0e%04x", g.calls)
}

func parent(trace, span string) string { return "00-" + trace + "-" + span + "-01" }

// in is the span of a call's kind in a trace.
func (g *traced) in(t *testing.T, trace string, kind tracepb.Span_SpanKind) proxytest.Span {
	t.Helper()
	return g.receiver.Await(t, kind.String()+" in "+trace, func(s proxytest.Span) bool {
		return s.Trace() == trace && s.Kind == kind && s.Name == "tools/call meta"
	})
}

func (g *traced) named(t *testing.T, trace, name string) proxytest.Span {
	t.Helper()
	return g.receiver.Await(t, name+" in "+trace, func(s proxytest.Span) bool {
		return s.Trace() == trace && s.Name == name && s.Kind == tracepb.Span_SPAN_KIND_INTERNAL
	})
}

// checkCall checks the spans of a call of the tool meta, which answered with what it got.
func (g *traced) checkCall(t *testing.T, trace, transport, answer string) {
	t.Helper()
	server, client := g.in(t, trace, tracepb.Span_SPAN_KIND_SERVER), g.in(t, trace, tracepb.Span_SPAN_KIND_CLIENT)
	if server.Name != "tools/call meta" || server.Parent() != clientSpan || server.Attribute("mcp_gateway.transport") != transport || server.Resource["service.name"] != "traced" {
		t.Errorf("%s: got server span %v of %v", transport, server.Span, server.Resource)
	}
	if len(server.Links) != 1 || fmt.Sprintf("%x", server.Links[0].SpanId) != headerSpan {
		t.Errorf("%s: got links %v, want the header's", transport, server.Links)
	}
	if client.Name != "tools/call meta" || client.Parent() != server.ID() {
		t.Errorf("%s: got client span %v", transport, client.Span)
	}
	if !strings.Contains(answer, parent(trace, client.ID())) || !strings.Contains(answer, "kept") {
		t.Errorf("%s: the server got %s, want %s and what else was sent", transport, answer, parent(trace, client.ID()))
	}
	if got := server.Attribute("mcp_gateway.instance"); got == "" || got != client.Attribute("mcp_gateway.instance") {
		t.Errorf("%s: got instance %q", transport, got)
	}
}

// TestTraces has a real receiver get the spans of calls by every transport, over OTLP's
// protocols.
func TestTraces(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"grpc", "http"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			g := startTraced(t, protocol)
			g.overHTTP(t)
			g.inSession(t)
			g.overSocket(t)
			g.overGRPC(t)
			g.overREST(t)
			g.merged(t)
			if got := g.receiver.Header("X-Tenant"); got != "hidden-tenant" {
				t.Errorf("got header %q", got)
			}
			g.atTheEnd(t)
			if strings.Contains(g.gateway.log.String(), "hidden-tenant") {
				t.Error("a header is in the log")
			}
		})
	}
}

func meta(trace string) string {
	return fmt.Sprintf(`"name":"meta","arguments":{},"_meta":{%s,"kept":9007199254740993,"traceparent":%q}`, statelessMeta, parent(trace, clientSpan))
}

func (g *traced) overHTTP(t *testing.T) {
	trace := g.next()
	s := &session{url: g.addresses.HTTP + "/servers/test/mcp", key: g.user.key}
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":"one","method":"tools/call","params":{%s}}`, meta(trace))
	a := s.do(t, http.MethodPost, body, map[string]string{
		"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "meta", "Traceparent": parent(trace, headerSpan),
	})
	g.checkCall(t, trace, "http", string(a.message))
	server := g.in(t, trace, tracepb.Span_SPAN_KIND_SERVER)
	if server.Attribute("mcp.protocol.version") != "2026-07-28" || server.Attribute("jsonrpc.request.id") != "one" || server.Attribute("mcp_gateway.correlation_id") != a.header.Get("Mcp-Gateway-Request-Id") {
		t.Errorf("got attributes %v", server.Texts())
	}
	// The gateway compares headers with the tool's parameters, and so asks for them first.
	list := g.named(t, trace, "tools/list")
	if start := g.named(t, trace, "start sandbox"); list.Parent() != clientSpan || start.Parent() != list.ID() || start.Attribute("mcp_gateway.server") != "test" {
		t.Errorf("got %v, and %v for it", list.Span, start.Span)
	}
	if one := g.wants(t, "meta", "ok"); one.Trace != trace {
		t.Errorf("the audit log says trace %q, want %q", one.Trace, trace)
	}
}

func (g *traced) inSession(t *testing.T) {
	trace := g.next()
	s := &session{url: g.addresses.HTTP + "/servers/test/mcp", key: g.user.key}
	s.open(t)
	defer s.end(t)
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{%s}}`, strings.Replace(meta(trace), statelessMeta+",", "", 1))
	a := s.do(t, http.MethodPost, body, map[string]string{"Traceparent": parent(trace, headerSpan)})
	g.checkCall(t, trace, "http", string(a.message))
	if got := g.in(t, trace, tracepb.Span_SPAN_KIND_SERVER).Attribute("mcp.protocol.version"); got != "2025-11-25" {
		t.Errorf("got version %q", got)
	}
}

func (g *traced) overSocket(t *testing.T) {
	trace := g.next()
	conn, response, err := websocket.Dial(t.Context(), strings.Replace(g.addresses.HTTP, "http", "ws", 1)+"/servers/test/ws",
		&websocket.DialOptions{Subprotocols: []string{"mcp"}, HTTPHeader: http.Header{"X-Api-Key": {g.user.key}, "Traceparent": {parent(trace, headerSpan)}}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if response.Body != nil {
		response.Body.Close()
	}
	if err := conn.Write(t.Context(), websocket.MessageText, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{%s}}`, meta(trace))); err != nil {
		t.Fatal(err)
	}
	_, answer, err := conn.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g.checkCall(t, trace, "websocket", string(answer))
}

func (g *traced) overGRPC(t *testing.T) {
	trace := g.next()
	client, ctx := g.user.dial(t)
	answer, err := client.Call(metadata.AppendToOutgoingContext(ctx, "traceparent", parent(trace, headerSpan)),
		&gatewaypb.CallRequest{Scope: scoped("/servers/other"), Method: "tools/call", ParamsJson: "{" + meta(trace) + "}"})
	if err != nil {
		t.Fatal(err)
	}
	g.checkCall(t, trace, "grpc", answer.GetResultJson())
	if start := g.named(t, trace, "start sandbox"); start.Parent() != g.in(t, trace, tracepb.Span_SPAN_KIND_SERVER).ID() || start.Attribute("mcp_gateway.server") != "other" {
		t.Errorf("got %v, want the start of the sandbox", start.Span)
	}
}

// overREST asks without a context but the header's, which is no parent.
func (g *traced) overREST(t *testing.T) {
	trace := g.next()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.addresses.HTTP+"/api/v1/servers/test/tools/read_file", strings.NewReader(`{"path":"/none"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"X-Api-Key": {g.user.key}, "Content-Type": {"application/json"}, "Traceparent": {parent(trace, headerSpan)}}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	s := g.receiver.Await(t, "the failed call", func(s proxytest.Span) bool {
		return s.Kind == tracepb.Span_SPAN_KIND_SERVER && s.Attribute("mcp_gateway.transport") == "rest"
	})
	if s.Parent() != "" || s.Trace() == trace || len(s.Links) != 1 || s.Attribute("error.type") != "tool_error" || s.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("got %v", s.Span)
	}
	if one := g.wants(t, "read_file", "tool-error"); one.Trace != s.Trace() {
		t.Errorf("the audit log says trace %q, want %q", one.Trace, s.Trace())
	}
}

// merged asks all servers at once.
func (g *traced) merged(t *testing.T) {
	correlation := g.user.http(t, "", "tools/list", "").correlation
	traces := map[string]bool{}
	for _, server := range []string{"test", "other"} {
		traces[g.receiver.Await(t, "the list of "+server, func(s proxytest.Span) bool {
			return s.Name == "tools/list" && s.Attribute("mcp_gateway.server") == server && s.Attribute("mcp_gateway.correlation_id") == correlation
		}).Trace()] = true
	}
	if len(traces) != 1 {
		t.Errorf("got traces %v, want one for one message", traces)
	}
}

// atTheEnd stops the gateway just after a call.
func (g *traced) atTheEnd(t *testing.T) {
	last := g.user.http(t, "/servers/test", "tools/call", `"name":"echo","arguments":{}`)
	if last.kind != "ok" {
		t.Fatalf("got %+v", last)
	}
	if err := g.cmd.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	g.wait(t)
	g.killed = true // by us, and in order
	if g.err != nil {
		t.Errorf("the gateway ended with %v", g.err)
	}
	for _, s := range g.receiver.Spans() {
		if s.Attribute("mcp_gateway.correlation_id") == last.correlation {
			return
		}
	}
	t.Error("the last spans were not sent")
}

// TestReceiverOfTracesIsDown asserts that calls are served as if nothing were wrong.
func TestReceiverOfTracesIsDown(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	endpoint := "http://" + listener.Addr().String()
	listener.Close()
	g := start(t, fmt.Sprintf("tracing: {endpoint: %q, headers: {authorization: Bearer hidden-token}}\n", endpoint), servers(testserver("test")))
	s := g.open(t, "test")
	began := time.Now()
	for n := range 200 {
		if got, want := s.ask(t, "echo", map[string]int{"n": n}), fmt.Sprintf(`{"n":%d}`, n); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("200 calls took %s", took)
	}
	if strings.Contains(g.log.String(), "hidden-token") {
		t.Error("a header is in the log")
	}
}
