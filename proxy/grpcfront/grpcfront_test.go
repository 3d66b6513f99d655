package grpcfront

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"mcpgateway/policy"
	"mcpgateway/policy/authn"
	"mcpgateway/proxy/arrivals"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/grpcfront/gatewaypb"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/proxytest"
)

func TestMain(m *testing.M) { os.Exit(proxytest.Main(m)) }

// gateway is a front on a real listener, before real server processes.
type gateway struct {
	t       *testing.T
	address string
	key     string // for every server
	other   string // another caller's, for "echo" only
	front   *Front
	policy  *policy.Policy
	current atomic.Pointer[gate.Current]
	next    func(*policy.Policy) // puts a generation in force
	ready   atomic.Pointer[error]
	unready map[string]error // servers; not changed once it serves
	stop    context.CancelFunc
}

// newGateway starts one; change may alter its front and policy. At the end of the
// test no server, goroutine and descriptor may be left.
func newGateway(t *testing.T, change func(*Front, *policy.Policy)) *gateway {
	t.Helper()
	goroutines := goleak.IgnoreCurrent()
	g := &gateway{t: t}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	opener := &proxytest.Opener{}
	instances, sessions := fleet.New(opener, nil, log), gate.NewSessions(log)
	opener.Exited = instances.Exited
	g.front = New(g.current.Load, Readiness{
		Gateway: func() error {
			if err := g.ready.Load(); err != nil {
				return *err
			}
			return nil
		},
		Server: func(name string) (error, bool) {
			_, known := g.current.Load().Policy.Servers[name]
			return g.unready[name], known
		},
	}, log)
	g.policy = g.newPolicy()
	if change != nil {
		change(g.front, g.policy)
	}
	g.next = func(p *policy.Policy) {
		g.current.Store(&gate.Current{Policy: p, Auth: proxytest.Authenticator(t, p.Keys), Gate: gate.New(gate.Rules{Policy: p}, instances, sessions)})
	}
	g.next(g.policy)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.address = listener.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	g.stop = stop
	served := make(chan error, 1)
	go func() { served <- g.front.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		sessions.Close()
		instances.Close()
		opener.Wait()
		goleak.VerifyNone(t, goroutines)
	})
	return g
}

func (g *gateway) newPolicy() *policy.Policy {
	g.t.Helper()
	p := &policy.Policy{
		Generation: 1, Gateway: "test",
		Limits:  policy.Limits{MaxBodyBytes: 1 << 20, MaxMessageBytes: 8 << 20, MaxSessions: 8, MaxSessionsPerCaller: 8, MaxConnections: 1024, MaxConnectionsPerCaller: 1024, MaxInstancesPerCaller: 8},
		Servers: map[string]policy.Server{},
	}
	ends := map[string]policy.OnCrash{"crash": policy.OnCrashEndSession}
	for name, project := range map[string]string{"mortal": "p", "echo": "both", "modern": "both", "echo.2": "p", "crash": "p", "exit": "p", "silent": "p"} {
		p.Servers[name] = policy.Server{Project: project, Timeout: time.Minute, MaxTimeout: time.Minute, IdleTimeout: time.Hour, Replicas: 1, OnCrash: ends[name]}
	}
	for _, holder := range []struct {
		text    *string
		servers []string
	}{{&g.key, nil}, {&g.other, []string{"echo"}}} {
		key, text, err := authn.NewAPIKey("test", holder.servers, nil, time.Time{})
		if err != nil {
			g.t.Fatal(err)
		}
		p.Keys = append(p.Keys, key)
		*holder.text = text
	}
	return p
}

// dial makes a client; without credentials it speaks plain text.
func (g *gateway) dial(secure credentials.TransportCredentials) *grpc.ClientConn {
	g.t.Helper()
	if secure == nil {
		secure = insecure.NewCredentials()
	}
	conn, err := grpc.NewClient(g.address, grpc.WithTransportCredentials(secure), grpc.WithUserAgent("tester/1.2"),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	return conn
}

func (g *gateway) client() gatewaypb.GatewayClient { return gatewaypb.NewGatewayClient(g.dial(nil)) }

// with adds metadata to a context, the key among them.
func (g *gateway) with(ctx context.Context, pairs ...string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, append([]string{"authorization", "Bearer " + g.key}, pairs...)...)
}

func on(server string) *gatewaypb.Scope {
	return &gatewaypb.Scope{To: &gatewaypb.Scope_Server{Server: server}}
}

func tool(server, name, rest string) *gatewaypb.CallRequest {
	return &gatewaypb.CallRequest{Scope: on(server), Method: mcp.MethodToolsCall, ParamsJson: fmt.Sprintf(`{"name":%q%s}`, name, rest)}
}

func wantStatus(t *testing.T, err error, code codes.Code, text string) {
	t.Helper()
	if got := status.Convert(err); got.Code() != code || !strings.Contains(got.Message(), text) {
		t.Errorf("got %v, %q, want %v, %q", got.Code(), got.Message(), code, text)
	}
}

// connection is a Connect stream.
type connection struct {
	grpc.BidiStreamingClient[gatewaypb.Message, gatewaypb.Message]
	t *testing.T
}

func (g *gateway) connect(ctx context.Context, pairs ...string) *connection {
	g.t.Helper()
	stream, err := g.client().Connect(g.with(ctx, pairs...))
	if err != nil {
		g.t.Fatal(err)
	}
	return &connection{stream, g.t}
}

func (c *connection) send(format string, args ...any) {
	c.t.Helper()
	if err := c.Send(&gatewaypb.Message{Json: fmt.Appendf(nil, format, args...)}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *connection) receive() mcp.Message {
	c.t.Helper()
	got, err := c.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	m, err := mcp.Parse(got.GetJson())
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

func (c *connection) wantEnd(code codes.Code, text string) {
	c.t.Helper()
	for {
		_, err := c.Recv()
		switch {
		case err == nil:
			continue
		case code == codes.OK && !errors.Is(err, io.EOF):
			c.t.Errorf("got %v, want the end", err)
		case code != codes.OK:
			wantStatus(c.t, err, code, text)
		}
		return
	}
}

const (
	initialize = `{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`
	stateless  = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
)

func TestConnectBothEras(t *testing.T) {
	g := newGateway(t, nil)
	c := g.connect(t.Context(), "mcp-server", "echo")
	c.send(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{%s}}`, stateless)
	if m := c.receive(); m.InResult("tools").Empty() {
		t.Errorf("got %s", m.Raw())
	}
	c.send(initialize)
	if m := c.receive(); string(m.ID()) != `"i"` || m.InResult("serverInfo").Empty() {
		t.Fatalf("got %s", m.Raw())
	}
	c.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	c.send(`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"ask"}}`)
	asked := c.receive()
	if asked.Method() != mcp.MethodSample || !strings.Contains(string(asked.Raw()), "9007199254740993") {
		t.Fatalf("got %s", asked.Raw())
	}
	c.send(`{"jsonrpc":"2.0","id":%s,"result":{"answer":1.50}}`, asked.ID())
	if m := c.receive(); string(m.ID()) != "3" || !strings.Contains(string(m.Raw()), "1.50") {
		t.Errorf("got %s", m.Raw())
	}
	for _, bad := range []string{"", "{", "[]", "\xff"} {
		c.send("%s", bad)
		if m := c.receive(); m.Err() == nil {
			t.Errorf("%q: got %s", bad, m.Raw())
		}
	}
	// Who has said all gets what is to come.
	c.send(`{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"big","arguments":{"n":3000000}}}`)
	if err := c.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if m := c.receive(); string(m.ID()) != "4" || len(m.Raw()) < 3000000 {
		t.Errorf("got %.100s", m.Raw())
	}
	c.wantEnd(codes.OK, "")
}

func TestManyAtATime(t *testing.T) {
	g := newGateway(t, nil)
	c := g.connect(t.Context(), "mcp-server", "echo")
	c.send(initialize)
	c.receive()
	const n = 1000
	room := make(chan struct{}, 200) // fewer than may be in flight
	go func() {
		for i := range n {
			room <- struct{}{}
			meta := ""
			if i%2 == 0 {
				meta = "," + stateless
			}
			_ = c.Send(&gatewaypb.Message{Json: fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"n%d"%s}}`, i, i, meta)})
		}
		_ = c.CloseSend()
	}()
	seen := map[string]bool{}
	for range n {
		m := c.receive()
		id, text := string(m.ID()), string(m.Raw())
		if seen[id] || !strings.Contains(text, `n`+id+`\"`) {
			t.Fatalf("got %s", text)
		}
		seen[id] = true
		<-room
	}
	c.wantEnd(codes.OK, "")
}

func TestConnectEnds(t *testing.T) {
	g := newGateway(t, func(f *Front, _ *policy.Policy) { f.times.beat = 10 * time.Millisecond })
	c := g.connect(t.Context(), "mcp-server", "crash")
	c.send(initialize)
	c.receive()
	c.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`)
	if m := c.receive(); m.Err() == nil || !strings.Contains(string(m.Raw()), "status 3") {
		t.Errorf("got %s", m.Raw())
	}
	c.wantEnd(codes.Unavailable, "session has ended")

	g.connect(t.Context(), "mcp-server", "nobody").wantEnd(codes.NotFound, `"nobody"`)
	g.connect(t.Context(), "mcp-server", "echo", "mcp-project", "p").wantEnd(codes.InvalidArgument, "not both")
	g.connect(t.Context(), "mcp-server", "echo", "mcp-server", "echo.2").wantEnd(codes.InvalidArgument, "more than once")

	ctx, cancel := context.WithCancel(t.Context())
	c = g.connect(ctx, "mcp-server", "echo")
	c.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"notify-then-wait",%s}}`, strings.Replace(stateless, "{", `{"progressToken":1,`, 1))
	c.receive()
	cancel()
	c.wantEnd(codes.Canceled, "")
	heard, err := g.client().Call(g.with(t.Context()), tool("echo", "cancelled", ""))
	if err != nil || !strings.Contains(heard.GetResultJson(), "the client has disconnected") {
		t.Errorf("got %v, %v", heard, err)
	}

	c = g.connect(t.Context(), "mcp-server", "echo")
	c.send(initialize)
	c.receive()
	c.send("%s", strings.Repeat(" ", 1<<20)) // the limit itself is allowed
	if m := c.receive(); m.Err() == nil {
		t.Errorf("got %s", m.Raw())
	}
	c.send("%s", strings.Repeat(" ", 1<<20+1))
	c.wantEnd(codes.ResourceExhausted, "1048576 bytes")

	c = g.connect(t.Context(), "mcp-server", "echo")
	c.send(initialize)
	c.receive()
	revoked := *g.policy
	revoked.Keys = g.policy.Keys[1:]
	g.next(&revoked)
	c.wantEnd(codes.Unauthenticated, "no longer valid")
	g.next(g.policy)

	c = g.connect(t.Context(), "mcp-server", "echo")
	c.send(initialize)
	c.receive()
	g.stop()
	c.wantEnd(codes.Unavailable, "stopping")
}

func TestCall(t *testing.T) {
	g := newGateway(t, nil)
	client := g.client()
	for _, server := range []string{"echo", "modern"} {
		discovered, err := client.Discover(g.with(t.Context()), &gatewaypb.DiscoverRequest{Scope: on(server)})
		if err != nil || !slices.Equal(discovered.GetServers(), []string{server}) || !strings.Contains(discovered.GetResultJson(), `"supportedVersions"`) {
			t.Errorf("%s: got %v, %v", server, discovered, err)
		}
		listed, err := client.Call(g.with(t.Context()), &gatewaypb.CallRequest{Scope: on(server), Method: "tools/list"})
		if err != nil || !strings.Contains(listed.GetResultJson(), `"echo"`) {
			t.Errorf("%s: got %v, %v", server, listed, err)
		}
	}
	got, err := client.Call(g.with(t.Context()), tool("echo", "x", `,"arguments":{"big":9007199254740993,"exact":1.50,"text":"\u00fc\ud83d\ude00"}`))
	if err != nil || !strings.Contains(got.GetResultJson(), `9007199254740993`) || !strings.Contains(got.GetResultJson(), `\"exact\":1.50`) {
		t.Errorf("got %v, %v", got, err)
	}
	// Many servers at one address: those of a project, and those that a key may use.
	both := &gatewaypb.Scope{To: &gatewaypb.Scope_Project{Project: "both"}}
	discovered, err := client.Discover(g.with(t.Context()), &gatewaypb.DiscoverRequest{Scope: both})
	if err != nil || !slices.Equal(discovered.GetServers(), []string{"echo", "modern"}) {
		t.Errorf("got %v, %v", discovered, err)
	}
	listed, err := client.Call(g.with(t.Context()), &gatewaypb.CallRequest{Scope: both, Method: "tools/list"})
	if err != nil || !strings.Contains(listed.GetResultJson(), `"echo__echo"`) || !strings.Contains(listed.GetResultJson(), `"modern__echo"`) {
		t.Errorf("got %v, %v", listed, err)
	}
	discovered, err = client.Discover(metadata.AppendToOutgoingContext(t.Context(), "x-api-key", g.other), &gatewaypb.DiscoverRequest{})
	if err != nil || !slices.Equal(discovered.GetServers(), []string{"echo"}) {
		t.Errorf("got %v, %v", discovered, err)
	}
	// What servers are told of the client; it may say other things itself.
	got, err = client.Call(g.with(t.Context()), tool("modern", "x", ``))
	if err != nil || !strings.Contains(got.GetResultJson(), `{\"name\":\"tester\",\"version\":\"1.2\"}`) {
		t.Errorf("got %v, %v", got, err)
	}
	got, err = client.Call(g.with(t.Context()), tool("modern", "x", `,"_meta":{"io.modelcontextprotocol/clientInfo":{"name":"me","version":"7"},"x":1}`))
	if err != nil || !strings.Contains(got.GetResultJson(), `\"me\"`) || strings.Contains(got.GetResultJson(), `tester`) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestCallStream(t *testing.T) {
	g := newGateway(t, nil)
	stream, err := g.client().CallStream(g.with(t.Context()), tool("echo", "progress", `,"arguments":{"n":3},"_meta":{"progressToken":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		m, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`{"progressToken":"a","progress":%d}`, i+1)
		if n := m.GetNotification(); n.GetMethod() != mcp.MethodProgress || n.GetParamsJson() != want {
			t.Errorf("got %v, want %s", m, want)
		}
	}
	if m, err := stream.Recv(); err != nil || !strings.Contains(m.GetResultJson(), "done") {
		t.Errorf("got %v, %v", m, err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the end", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	stream, err = g.client().CallStream(g.with(ctx), tool("echo", "notify-then-wait", `,"_meta":{"progressToken":1}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if got, err := g.client().Call(g.with(t.Context()), tool("echo", "cancelled", "")); err != nil || !strings.Contains(got.GetResultJson(), "cancelled") {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []*gatewaypb.CallRequest{tool("nobody", "x", ""), {Scope: on("echo"), Method: "x"}} {
		stream, err := g.client().CallStream(g.with(t.Context()), bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.NotFound && status.Code(err) != codes.Unimplemented {
			t.Errorf("got %v", err)
		}
	}
}

func TestDeadlineCancels(t *testing.T) {
	g := newGateway(t, nil)
	client := g.client()
	if _, err := client.Call(g.with(t.Context()), tool("echo", "x", "")); err != nil { // it has started
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // the server must have the request by then
	defer cancel()
	_, err := client.Call(g.with(ctx), tool("echo", "wait", ""))
	wantStatus(t, err, codes.DeadlineExceeded, "")
	got, err := client.Call(g.with(t.Context()), tool("echo", "cancelled", ""))
	if err != nil || !strings.Contains(got.GetResultJson(), "notifications/cancelled") {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestStatuses(t *testing.T) {
	g := newGateway(t, func(_ *Front, p *policy.Policy) {
		for _, name := range []string{"silent", "echo.2"} {
			hasty := p.Servers[name]
			hasty.Timeout, hasty.MaxTimeout = time.Second, time.Second // it must have started by then
			p.Servers[name] = hasty
		}
	})
	client := g.client()
	tests := []struct {
		name    string
		request *gatewaypb.CallRequest
		code    codes.Code
		text    string
		detail  int64
	}{
		{"no method", &gatewaypb.CallRequest{Scope: on("echo")}, codes.InvalidArgument, "method", 0},
		{"no JSON", &gatewaypb.CallRequest{Scope: on("echo"), Method: "x", ParamsJson: "{"}, codes.InvalidArgument, "params_json", 0},
		{"no object", &gatewaypb.CallRequest{Scope: on("echo"), Method: "x", ParamsJson: "[]"}, codes.InvalidArgument, "params_json", 0},
		{"more than an object", &gatewaypb.CallRequest{Scope: on("echo"), Method: "x", ParamsJson: `{},"method":"y"`}, codes.InvalidArgument, "params_json", 0},
		{"two of a name", &gatewaypb.CallRequest{Scope: on("echo"), Method: "x", ParamsJson: `{"a":1,"a":2}`}, codes.InvalidArgument, "params_json", 0},
		{"odd _meta", &gatewaypb.CallRequest{Scope: on("echo"), Method: "x", ParamsJson: `{"_meta":1}`}, codes.InvalidArgument, "_meta", 0},
		{"another revision", &gatewaypb.CallRequest{Scope: on("echo"), Method: "x", ParamsJson: `{"_meta":{"io.modelcontextprotocol/protocolVersion":"2025-11-25"}}`},
			codes.FailedPrecondition, "unsupported protocol version", mcp.CodeUnsupportedVersion},
		{"no server", tool("nobody", "x", ""), codes.NotFound, `there is no server "nobody"`, mcp.CodeInvalidRequest},
		{"no such method", &gatewaypb.CallRequest{Scope: on("echo"), Method: "x/y"}, codes.Unimplemented, "", mcp.CodeMethodNotFound},
		{"a method of the other era", &gatewaypb.CallRequest{Scope: on("echo"), Method: "initialize"}, codes.Unimplemented, "", mcp.CodeMethodNotFound},
		{"a stream", &gatewaypb.CallRequest{Scope: on("echo"), Method: mcp.MethodListen}, codes.InvalidArgument, "CallStream", 0},
		{"no resource", &gatewaypb.CallRequest{Scope: on("echo"), Method: "resources/read", ParamsJson: `{"uri":"x"}`}, codes.InvalidArgument, "Resource not found", mcp.CodeInvalidParams},
		{"a crash", tool("crash", "x", ""), codes.Unavailable, "status 3", mcp.CodeInternal},
		{"late", tool("echo.2", "wait", ""), codes.DeadlineExceeded, "1s", mcp.CodeInternal},
		{"no start", tool("exit", "x", ""), codes.Unavailable, "exit", mcp.CodeInternal},
		{"no answer", tool("silent", "x", ""), codes.Unavailable, "1s", mcp.CodeInternal},
		{"too large", tool("echo", strings.Repeat("x", 1<<20), ""), codes.ResourceExhausted, "1048576", 0},
		{"much too large", tool("echo", strings.Repeat("x", 4<<20), ""), codes.ResourceExhausted, "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := client.Call(g.with(t.Context()), tt.request)
			wantStatus(t, err, tt.code, tt.text)
			var detail int64
			for _, d := range status.Convert(err).Details() {
				if e, ok := d.(*gatewaypb.Error); ok {
					detail = e.GetCode()
				}
			}
			if detail != tt.detail {
				t.Errorf("got code %d, want %d", detail, tt.detail)
			}
		})
	}
}

// What the gateway says of an error fits into the headers of any client.
func TestStatusIsBounded(t *testing.T) {
	t.Parallel()
	long := mcp.NewError([]byte("1"), -5, strings.Repeat("ü", 1000), mcp.Quote(strings.Repeat("x", 5000)))
	s := status.Convert(answered(long))
	detail, ok := s.Details()[0].(*gatewaypb.Error)
	if s.Code() != codes.Unknown || len(s.Message()) > 600 || !ok || len(detail.GetMessage()) > 600 || detail.GetDataJson() != "" || detail.GetCode() != -5 {
		t.Errorf("got %v", s)
	}
	short := status.Convert(answered(mcp.NewError(nil, 7, "no", []byte(`{"exact":1e3}`))))
	if detail, ok := short.Details()[0].(*gatewaypb.Error); !ok || detail.GetDataJson() != `{"exact":1e3}` || short.Message() != "no" {
		t.Errorf("got %v", short)
	}
	if s := status.Convert(answered(mcp.NewError(nil, 0, "", nil).Replace(mcp.NewError(nil, 0, "", nil).InError("code"), []byte("1e999")))); s.Code() != codes.Unknown {
		t.Errorf("got %v", s)
	}
}

func TestAdmission(t *testing.T) {
	g := newGateway(t, nil)
	client := g.client()
	call := func(pairs ...string) error {
		_, err := client.Call(metadata.AppendToOutgoingContext(t.Context(), pairs...), tool("echo", "x", ""))
		return err
	}
	if err := call("x-api-key", g.other); err != nil {
		t.Errorf("got %v", err)
	}
	wantStatus(t, call(), codes.Unauthenticated, "no credential")
	wantStatus(t, call("authorization", "Bearer "+strings.Replace(g.key, "_", "_x", 2)[:len(g.key)]), codes.Unauthenticated, "not valid")
	wantStatus(t, call("authorization", "Basic "+g.key), codes.Unauthenticated, "Bearer")
	wantStatus(t, call("authorization", "Bearer "+g.key, "x-api-key", g.other), codes.Unauthenticated, "more than one")
	// Another's server looks as if it were not there.
	_, err := client.Call(metadata.AppendToOutgoingContext(t.Context(), "x-api-key", g.other), tool("crash", "x", ""))
	wantStatus(t, err, codes.NotFound, `there is no server "crash"`)
	// A stranger's message is not even read.
	_, err = client.Call(t.Context(), tool("echo", strings.Repeat("x", 4<<20), ""))
	wantStatus(t, err, codes.Unauthenticated, "no credential")
	g.current.Store(nil)
	wantStatus(t, call("x-api-key", g.key), codes.Unavailable, "starting")
	g.next(g.policy)
}

// One caller can't take every place.
func TestCallsAreBounded(t *testing.T) {
	g := newGateway(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var open []*connection
	for len(open) < maxCallsPerCaller {
		c := g.connect(ctx, "mcp-server", "echo")
		open = append(open, c)
		if len(open)%100 == 1 { // it is let in
			c.send("{")
			c.receive()
		}
	}
	for _, c := range open {
		c.send("{")
		c.receive()
	}
	_, err := g.client().Call(g.with(t.Context()), tool("echo", "x", ""))
	wantStatus(t, err, codes.ResourceExhausted, "256 calls")
	if _, err := g.client().Call(metadata.AppendToOutgoingContext(t.Context(), "x-api-key", g.other), tool("echo", "x", "")); err != nil {
		t.Errorf("another caller: got %v", err)
	}
	cancel()
	for _, c := range open {
		c.wantEnd(codes.Canceled, "")
	}
	for { // the gateway learns of it a moment later
		if _, err = g.client().Call(g.with(t.Context()), tool("echo", "x", "")); status.Code(err) != codes.ResourceExhausted {
			break
		}
	}
	if err != nil {
		t.Errorf("got %v", err)
	}
}

// Strangers take few places, and none of those who have shown a key.
func TestStrangersAreBounded(t *testing.T) {
	g := newGateway(t, func(f *Front, _ *policy.Policy) { f.bounds = arrivals.New(arrivals.Fixed(64), 1) })
	check := func() error {
		_, err := healthpb.NewHealthClient(g.dial(nil)).Check(t.Context(), &healthpb.HealthCheckRequest{})
		return err
	}
	for range 3 { // each on a connection of its own
		if _, err := g.client().Call(g.with(t.Context()), tool("echo", "x", "")); err != nil {
			t.Fatal(err)
		}
	}
	if err := check(); err != nil {
		t.Errorf("a stranger: got %v", err)
	}
	wantStatus(t, check(), codes.Unavailable, "")
}

func TestTLS(t *testing.T) {
	servers, clients := proxytest.NewAuthority(t, "servers"), proxytest.NewAuthority(t, "clients")
	g := newGateway(t, func(_ *Front, p *policy.Policy) {
		p.GRPC.TLS = servers.Sign("gateway")
		p.GRPC.TLS.ClientCA = clients.PEM
	})
	call := func(secure credentials.TransportCredentials) error {
		_, err := gatewaypb.NewGatewayClient(g.dial(secure)).Call(g.with(t.Context()), tool("echo", "x", ""))
		return err
	}
	known := clients.Sign("known")
	certificate, err := tls.X509KeyPair(known.Certificate, known.Key)
	if err != nil {
		t.Fatal(err)
	}
	mutual := credentials.NewTLS(&tls.Config{RootCAs: servers.Roots(), Certificates: []tls.Certificate{certificate}})
	oneSided := credentials.NewTLS(&tls.Config{RootCAs: servers.Roots()})
	if err := call(mutual); err != nil {
		t.Errorf("got %v", err)
	}
	wantStatus(t, call(oneSided), codes.Unavailable, "")
	wantStatus(t, call(nil), codes.Unavailable, "")
	without := *g.policy
	without.GRPC.TLS = &policy.TLS{Certificate: g.policy.GRPC.TLS.Certificate, Key: g.policy.GRPC.TLS.Key}
	g.next(&without)
	if err := call(oneSided); err != nil {
		t.Errorf("without a client CA: got %v", err)
	}
	plain := *g.policy
	plain.GRPC.TLS = nil
	g.next(&plain)
	if err := call(nil); err != nil {
		t.Errorf("plain text: got %v", err)
	}
}

// A client that does not read ends its own stream and stalls nobody else.
func TestSlowReader(t *testing.T) {
	g := newGateway(t, func(f *Front, _ *policy.Policy) { f.times.write = 100 * time.Millisecond })
	slow := g.connect(t.Context(), "mcp-server", "echo")
	slow.send(initialize)
	slow.receive()
	flood, err := g.client().CallStream(g.with(t.Context()), tool("echo.2", "progress", `,"arguments":{"n":20000},"_meta":{"progressToken":"`+strings.Repeat("t", 500)+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 { // more than gRPC holds on the way
		slow.send(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"big","arguments":{"n":100000}}}`, i)
	}
	another := g.client()
	inFlight := func() int {
		g.front.calls.mu.Lock()
		defer g.front.calls.mu.Unlock()
		return len(g.front.calls.held)
	}
	for inFlight() > 0 { // until both are given up
		if _, err := another.Call(g.with(t.Context()), tool("echo", "x", "")); err != nil {
			t.Fatalf("another client: got %v", err)
		}
	}
	slow.wantEnd(codes.ResourceExhausted, "does not read")
	for {
		if _, err := flood.Recv(); err != nil {
			wantStatus(t, err, codes.ResourceExhausted, "does not read")
			break
		}
	}
}

func TestPanicEndsOneCall(t *testing.T) {
	g := newGateway(t, nil)
	good := g.current.Load()
	g.current.Store(&gate.Current{Policy: good.Policy, Gate: good.Gate})
	_, err := g.client().Call(g.with(t.Context()), tool("echo", "x", ""))
	wantStatus(t, err, codes.Internal, "internal error")
	broken := gate.Current{Policy: good.Policy, Auth: good.Auth}
	_, err = g.client().Call(g.with(t.Context()), tool("echo", "x", ""))
	wantStatus(t, err, codes.Internal, "internal error")
	g.connect(t.Context(), "mcp-server", "echo").wantEnd(codes.Internal, "internal error")
	g.next(g.policy)
	c := g.connect(t.Context(), "mcp-server", "echo")
	c.send("{")
	c.receive()
	g.current.Store(&broken)
	c.send(initialize) // in the goroutine that reads
	c.wantEnd(codes.Internal, "internal error")
	g.next(g.policy)
	if _, err := g.client().Call(g.with(t.Context()), tool("echo", "x", "")); err != nil {
		t.Errorf("got %v", err)
	}
}
