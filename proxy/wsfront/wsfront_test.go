package wsfront

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"mcpgateway/policy"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/proxytest"
	"mcpgateway/runtime/control"
)

func TestMain(m *testing.M) { os.Exit(proxytest.Main(m)) }

// gateway is a front behind a listener that admits everybody, before real server
// processes.
type gateway struct {
	t       *testing.T
	front   *Front
	url     string
	server  *httptest.Server
	opener  *proxytest.Opener
	exits   chan struct{} // a value for each server that has ended
	closing chan struct{}
	revoked atomic.Bool
	header  atomic.Pointer[http.Header] // of the last request, as the front got it
}

// newGateway starts one; change may alter the front and what is admitted. At the
// end of the test no server, goroutine and descriptor may be left.
func newGateway(t *testing.T, change func(*Front, *Admitted)) *gateway {
	t.Helper()
	goroutines := goleak.IgnoreCurrent()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	g := &gateway{t: t, front: New(log), opener: &proxytest.Opener{}, exits: make(chan struct{}, 16), closing: make(chan struct{})}
	pool := fleet.New(g.opener, nil, log)
	g.opener.Exited = func(exit control.Exit) {
		pool.Exited(exit)
		g.exits <- struct{}{}
	}
	p := &policy.Policy{
		Limits:  policy.Limits{MaxBodyBytes: 1 << 20, MaxMessageBytes: 4 << 20, MaxSessions: 8, MaxSessionsPerCaller: 8, MaxConnections: 1024, MaxConnectionsPerCaller: 1024, MaxInstancesPerCaller: 8},
		Servers: map[string]policy.Server{},
	}
	for _, name := range []string{"echo", "crash", "exit", "mortal"} {
		p.Servers[name] = policy.Server{Timeout: time.Minute, IdleTimeout: time.Hour}
	}
	p.Servers["crash"] = policy.Server{Timeout: time.Minute, IdleTimeout: time.Hour, OnCrash: policy.OnCrashEndSession}
	served := gate.New(gate.Rules{Policy: p}, pool, gate.NewSessions(log))
	admitted := Admitted{
		Caller: &policy.Identity{Subject: "key:test"}, MaxMessage: 1 << 20, MaxOpen: 4, Closing: g.closing,
		Gate:    func() *gate.Gate { return served },
		Allowed: func() bool { return !g.revoked.Load() },
	}
	if change != nil {
		change(g.front, &admitted)
	}
	g.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		TakeKey(r.Header)
		header := r.Header.Clone()
		g.header.Store(&header)
		a := admitted
		a.Scope = policy.Scope{Server: strings.TrimPrefix(r.URL.Path, "/")}
		g.front.Serve(w, r, a)
	}))
	g.server.Config.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelError)
	g.server.Start()
	g.url = g.server.URL
	t.Cleanup(func() {
		g.front.Wait()
		g.server.Close()
		pool.Close()
		g.opener.Wait()
		goleak.VerifyNone(t, goroutines)
	})
	return g
}

// client is a connection of a client.
type client struct {
	*websocket.Conn
	t *testing.T
}

// answer is what came to a handshake.
type answer struct {
	status int
	header http.Header
}

func (g *gateway) dial(server string, subprotocols ...string) (*client, answer, error) {
	g.t.Helper()
	conn, response, err := websocket.Dial(g.t.Context(), g.url+"/"+server, &websocket.DialOptions{Subprotocols: subprotocols}) //nolint:bodyclose // its documentation says so
	if response == nil {
		g.t.Fatal(err)
	}
	got := answer{response.StatusCode, response.Header}
	if err != nil {
		return nil, got, err
	}
	conn.SetReadLimit(-1)
	g.t.Cleanup(func() { conn.CloseNow() })
	return &client{conn, g.t}, got, nil
}

func (g *gateway) connect(server string) *client {
	g.t.Helper()
	c, _, err := g.dial(server, subprotocol)
	if err != nil {
		g.t.Fatal(err)
	}
	return c
}

func (c *client) send(format string, args ...any) {
	c.t.Helper()
	if err := c.Write(c.t.Context(), websocket.MessageText, fmt.Appendf(nil, format, args...)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) receive() mcp.Message {
	c.t.Helper()
	kind, data, err := c.Read(c.t.Context())
	if err != nil || kind != websocket.MessageText {
		c.t.Fatalf("got %s, error %v", kind, err)
	}
	m, err := mcp.Parse(data)
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

// wantEnd wants the connection to end with a status, after whatever else comes.
func (c *client) wantEnd(code websocket.StatusCode, reason string) {
	c.t.Helper()
	for {
		_, _, err := c.Read(c.t.Context())
		if err == nil {
			continue
		}
		var end websocket.CloseError
		if websocket.CloseStatus(err) != code || !errors.As(err, &end) || !strings.Contains(end.Reason, reason) {
			c.t.Errorf("got %v, want code %d, %q", err, code, reason)
		}
		return
	}
}

const (
	initialize = `{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`
	stateless  = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
)

func TestBothEras(t *testing.T) {
	g := newGateway(t, nil)
	c := g.connect("echo")
	if got := c.Subprotocol(); got != "mcp" {
		t.Errorf("got subprotocol %q", got)
	}
	// Stateless before there is a session, then a session beside it.
	c.send(`{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{%s}}`, stateless)
	if m := c.receive(); m.InResult("supportedVersions").Empty() {
		t.Errorf("got %s", m.Raw())
	}
	c.send(`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
	if m := c.receive(); m.Err() == nil || !strings.Contains(string(m.Raw()), "initialize") {
		t.Errorf("without a session: got %s", m.Raw())
	}
	c.send(initialize)
	if m := c.receive(); string(m.ID()) != `"i"` || m.InResult("serverInfo").Empty() {
		t.Errorf("got %s", m.Raw())
	}
	c.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	// What a server asks comes and is answered by the same connection.
	c.send(`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"ask"}}`)
	asked := c.receive()
	if asked.Method() != mcp.MethodSample || !bytes.Contains(asked.Raw(), []byte("9007199254740993")) {
		t.Fatalf("got %s", asked.Raw())
	}
	c.send(`{"jsonrpc":"2.0","id":%s,"result":{"answer":1.50}}`, asked.ID())
	if m := c.receive(); string(m.ID()) != "3" || !strings.Contains(string(m.Raw()), "1.50") {
		t.Errorf("got %s", m.Raw())
	}
	// And so does what it says unasked.
	c.send(`{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"log"}}`)
	seen := map[string]bool{}
	for range 3 {
		m := c.receive()
		seen[m.Method()+string(m.ID())] = true
	}
	if !seen["notifications/message"] || !seen["notifications/tools/list_changed"] || !seen["4"] {
		t.Errorf("got %v", seen)
	}
	before := g.opener.Running()
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("close: %v", err)
	}
	for g.opener.Running() != before-1 { // the session's server ends with it
		<-g.exits
	}
}

func TestManyAtATime(t *testing.T) {
	g := newGateway(t, nil)
	c := g.connect("echo")
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
			_ = c.Write(t.Context(), websocket.MessageText, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"n%d"%s}}`, i, i, meta))
		}
	}()
	seen := map[string]bool{}
	for range n {
		m := c.receive()
		id := string(m.ID())
		text := string(m.Raw())
		if seen[id] || !strings.Contains(text, `n`+id+`\"`) {
			t.Fatalf("got %s", text)
		}
		seen[id] = true
		<-room
	}
}

func TestCancellation(t *testing.T) {
	g := newGateway(t, nil)
	c := g.connect("echo")
	c.send(initialize)
	c.receive()
	for _, meta := range []string{"", "," + stateless} {
		c.send(`{"jsonrpc":"2.0","id":"w","method":"tools/call","params":{"name":"wait"%s}}`, meta)
		c.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"w"}}`)
		if m := c.receive(); string(m.ID()) != `"w"` || m.Err() == nil {
			t.Errorf("got %s", m.Raw())
		}
	}
	// The server was told.
	c.send(`{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"cancelled"}}`)
	if m := c.receive(); !strings.Contains(string(m.Raw()), "notifications/cancelled") {
		t.Errorf("got %s", m.Raw())
	}
}

func TestDisconnectCancels(t *testing.T) {
	g := newGateway(t, nil)
	c := g.connect("echo")
	c.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"notify-then-wait",%s}}`, strings.Replace(stateless, "{", `{"progressToken":1,`, 1))
	c.receive()
	c.CloseNow()
	g.front.Wait()
	c = g.connect("echo")
	c.send(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"cancelled",%s}}`, stateless)
	if m := c.receive(); !strings.Contains(string(m.Raw()), "the client has disconnected") {
		t.Errorf("got %s", m.Raw())
	}
}

func TestBadMessages(t *testing.T) {
	g := newGateway(t, nil)
	c := g.connect("echo")
	for _, message := range []string{"", "{", "[]", `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, `{"jsonrpc":"2.0","id":{},"method":"x"}`} {
		c.send("%s", message)
		if m := c.receive(); m.Err() == nil {
			t.Errorf("%q: got %s", message, m.Raw())
		}
	}
	tests := []struct {
		name   string
		kind   websocket.MessageType
		data   []byte
		code   websocket.StatusCode
		reason string
	}{
		{"binary", websocket.MessageBinary, []byte(initialize), websocket.StatusUnsupportedData, "text"},
		{"not UTF-8", websocket.MessageText, []byte("{\"\xff\":1}"), websocket.StatusInvalidFramePayloadData, "UTF-8"},
		{"too large", websocket.MessageText, make([]byte, 1<<20+1), websocket.StatusMessageTooBig, "1048576 bytes"},
	}
	for _, tt := range tests {
		c := g.connect("echo")
		if err := c.Write(t.Context(), tt.kind, tt.data); err != nil {
			t.Fatal(err)
		}
		c.wantEnd(tt.code, tt.reason)
	}
	c = g.connect("echo") // the limit itself is allowed
	c.send("%s", strings.Repeat(" ", 1<<20))
	if m := c.receive(); m.Err() == nil {
		t.Errorf("got %s", m.Raw())
	}
}

// A server's end comes with the reason in the answers, then as a status.
func TestEnds(t *testing.T) {
	g := newGateway(t, func(f *Front, _ *Admitted) { f.times.beat = 10 * time.Millisecond })
	c := g.connect("crash")
	c.send(initialize)
	c.receive()
	c.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`)
	if m := c.receive(); m.Err() == nil || !strings.Contains(string(m.Raw()), "status 3") {
		t.Errorf("got %s", m.Raw())
	}
	c.wantEnd(websocket.StatusServiceRestart, "session")

	c, other := g.connect("echo"), g.connect("echo")
	g.revoked.Store(true)
	c.wantEnd(websocket.StatusPolicyViolation, "key")
	other.wantEnd(websocket.StatusPolicyViolation, "key")
	g.revoked.Store(false)

	c = g.connect("echo")
	close(g.closing)
	c.wantEnd(websocket.StatusGoingAway, "stopping")
}

// A handshake that is refused says why, by HTTP.
func TestHandshake(t *testing.T) {
	g := newGateway(t, func(_ *Front, a *Admitted) { a.MaxOpen = 1 })
	tests := []struct {
		name    string
		headers string
		status  int
		want    string
	}{
		{"no handshake", "", http.StatusUpgradeRequired, ""},
		{"no subprotocol", "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", http.StatusBadRequest, `subprotocol "mcp"`},
		{"another subprotocol", "Upgrade: WebSocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\nSec-WebSocket-Protocol: chat, MCP", http.StatusBadRequest, `subprotocol "mcp"`},
		{"an old version", "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 8\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\nSec-WebSocket-Protocol: mcp", http.StatusBadRequest, ""},
	}
	get := func(headers string) (status int, body string) {
		t.Helper()
		r, err := http.NewRequest("GET", g.url+"/echo", nil)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(headers) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			r.Header.Set(name, value)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	for _, tt := range tests {
		if status, body := get(tt.headers); status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s: got %d %s, want %d %s", tt.name, status, body, tt.status, tt.want)
		}
	}
	c := g.connect("echo")
	if _, response, err := g.dial("echo", subprotocol); err == nil || response.status != http.StatusServiceUnavailable || response.header.Get("Retry-After") == "" {
		t.Errorf("one more than allowed: got %v, %v", response, err)
	}
	c.CloseNow()
	g.front.Wait()
	g.connect("echo").CloseNow()
	http.DefaultClient.CloseIdleConnections()
}

// A web page's key, or token, is where others put theirs, and nowhere else.
func TestKeyOfAWebPage(t *testing.T) {
	g := newGateway(t, nil)
	for _, credential := range []string{"mcpgw_a_b-_", "eyJ0eXAiOiJKV1QifQ.eyJzdWIiOiJhIn0.c2ln-_"} {
		g.takesFromPage(t, credential)
	}
}

func (g *gateway) takesFromPage(t *testing.T, credential string) {
	t.Helper()
	c, response, err := g.dial("echo", "mcp.key."+credential, "mcp")
	if err != nil {
		t.Fatal(err)
	}
	if got := response.header.Get("Sec-WebSocket-Protocol"); got != "mcp" {
		t.Errorf("got subprotocol %q back", got)
	}
	header := *g.header.Load()
	if got := header.Values("Authorization"); len(got) != 1 || got[0] != "Bearer "+credential {
		t.Errorf("got %q, want %s", got, credential)
	}
	if got := header.Values(headerProtocol); len(got) != 1 || got[0] != "mcp" {
		t.Errorf("got subprotocols %q", got)
	}
	c.CloseNow()
}

// A client that does not read ends its own connection and stalls nobody else.
func TestSlowReader(t *testing.T) {
	g := newGateway(t, func(f *Front, a *Admitted) {
		f.times.write, f.times.close = 300*time.Millisecond, 10*time.Millisecond
		a.MaxOpen = 2
	})
	slow := g.connect("echo")
	slow.send(initialize)
	slow.receive()
	for i := range 20 { // more than buffers on the way hold
		slow.send(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"big","arguments":{"n":3000000}}}`, i)
	}
	other := g.connect("echo")
	other.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x",%s}}`, stateless)
	if m := other.receive(); m.Err() != nil {
		t.Errorf("another client: got %s", m.Raw())
	}
	// When it has been given up there is room again.
	for {
		c, response, err := g.dial("echo", subprotocol)
		if err == nil {
			c.CloseNow()
			break
		}
		if response.status != http.StatusServiceUnavailable {
			t.Fatal(err)
		}
	}
	other.CloseNow()
}

// A client that is gone without a word is noticed; one that is only quiet stays.
func TestKeepAlive(t *testing.T) {
	g := newGateway(t, func(f *Front, _ *Admitted) { f.times.beat, f.times.silence = 20*time.Millisecond, time.Second })
	quiet := g.connect("echo")
	heard := make(chan error, 1)
	go func() {
		_, _, err := quiet.Read(context.Background())
		heard <- err
	}()
	mute, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	fmt.Fprintf(mute, "GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mcp\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	got, err := io.ReadAll(mute) // to the end, which comes
	if err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 101 ")) || !bytes.Contains(got, []byte{0x89, 1, '1'}) {
		t.Errorf("got %q, %v, want a ping, then the end", got, err)
	}
	select {
	case err := <-heard:
		t.Errorf("the quiet client: got %v", err)
	default:
	}
	quiet.CloseNow()
	<-heard
}

// A message that does not come to its end ends the connection.
func TestSlowSender(t *testing.T) {
	g := newGateway(t, func(f *Front, _ *Admitted) { f.times.message = 50 * time.Millisecond })
	c := g.connect("echo")
	w, err := c.Writer(t.Context(), websocket.MessageText)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(bytes.Repeat([]byte(" "), 8<<10)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Read(t.Context()); err == nil {
		t.Error("got a message")
	}
}

func TestPanicEndsOneConnection(t *testing.T) {
	broken := true
	g := newGateway(t, func(_ *Front, a *Admitted) {
		inner := a.Gate
		a.Gate = func() *gate.Gate {
			if broken {
				panic("a bug")
			}
			return inner()
		}
	})
	c := g.connect("echo")
	c.send(initialize)
	c.wantEnd(websocket.StatusInternalError, "internal")
	g.front.Wait()
	broken = false
	c = g.connect("echo")
	c.send(initialize)
	if m := c.receive(); m.Err() != nil {
		t.Errorf("got %s", m.Raw())
	}
	c.CloseNow()
}

// Large messages go both ways, and small ones beside them.
func TestLargeMessages(t *testing.T) {
	g := newGateway(t, nil)
	c := g.connect("echo")
	c.send(initialize)
	c.receive()
	for _, n := range []int{chunk - 1000, chunk, chunk + 1, 10*chunk + 7, 3_000_000} {
		c.send(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"big","arguments":{"n":%d}}}`, n, n)
		if m := c.receive(); string(m.ID()) != strconv.Itoa(n) || bytes.Count(m.Raw(), []byte("x")) < n {
			t.Errorf("got %d bytes, want %d", len(m.Raw()), n)
		}
	}
}

// A connection goes on after a crash of its server.
func TestConnectionOutlivesACrash(t *testing.T) {
	g := newGateway(t, nil)
	c := g.connect("mortal")
	c.send(initialize)
	c.receive()
	c.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	c.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"die"}}`)
	if m := c.receive(); m.Err() == nil || !strings.Contains(string(m.Raw()), "status 3") {
		t.Fatalf("the call in flight: got %s", m.Raw())
	}
	c.send(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"again"}}`)
	var answered, told bool
	for range 3 { // two lists may be others, beside the answer
		m := c.receive()
		answered = answered || string(m.ID()) == "2" && m.Err() == nil
		told = told || m.Method() == "notifications/tools/list_changed"
	}
	if !answered || !told {
		t.Errorf("got answered %v, told %v", answered, told)
	}
}
