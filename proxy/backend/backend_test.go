package backend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/proxytest"
)

func TestMain(m *testing.M) { os.Exit(proxytest.Main(m)) }

// newPool gives a pool whose servers are real processes, and checks at the end
// that none of them, no goroutine and no descriptor is left.
func newPool(t *testing.T) (*Pool, *proxytest.Opener) {
	t.Helper()
	goroutines := goleak.IgnoreCurrent()
	before := descriptors(t)
	opener := &proxytest.Opener{}
	pool := NewPool(opener, nil, slog.New(slog.NewTextHandler(t.Output(), nil)))
	opener.Exited = pool.Exited
	t.Cleanup(func() {
		pool.Close()
		opener.Wait()
		if got := opener.Running(); got != 0 {
			t.Errorf("got %d servers left, want 0", got)
		}
		goleak.VerifyNone(t, goroutines)
		if after := descriptors(t); after > before {
			t.Errorf("got %d descriptors, want at most %d", after, before)
		}
	})
	return pool, opener
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func spec(server string) Spec {
	return Spec{Server: server, Gateway: "test", Timeout: time.Minute, IdleTimeout: time.Hour, MaxMessageBytes: 4 << 20}
}

func parse(t *testing.T, text string) mcp.Message {
	t.Helper()
	m, err := mcp.Parse([]byte(text))
	if err != nil {
		t.Fatalf("parse %s: %v", text, err)
	}
	return m
}

// call sends a request and returns all messages of its call.
func call(t *testing.T, conn *Conn, request string) []mcp.Message {
	t.Helper()
	c, err := conn.Call(t.Context(), parse(t, request))
	if err != nil {
		t.Fatalf("call: %v", err)
	}
	return wait(t, c)
}

func wait(t *testing.T, c link.Call) (all []mcp.Message) {
	t.Helper()
	for {
		select {
		case <-c.Ready():
		case <-t.Context().Done():
			t.Fatal("no response")
		}
		all = append(all, c.Take()...)
		if n := len(all); n > 0 && all[n-1].Kind() == mcp.Response {
			return all
		}
	}
}

func start(t *testing.T, pool *Pool, s Spec) *Conn {
	t.Helper()
	conn, err := pool.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

const initialize = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}`

// What the gateway does not understand reaches both sides as it came.
func TestCallKeepsBytes(t *testing.T) {
	pool, _ := newPool(t)
	conn := start(t, pool, spec("echo"))
	for _, id := range []string{`1`, `"a\u0041"`, `9007199254740993`, `1e3`, `1.0`, `-0`} {
		request := `{"x-top":1e3,"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"again","arguments":{"n":9007199254740993,"f":1.50}}}`
		got := call(t, conn, request)[0]
		if string(got.ID()) != id {
			t.Errorf("got id %s, want %s", got.ID(), id)
		}
		for _, want := range []string{`"exact":1e3,"big":9007199254740993`, `"x-server":"kept"`, `\"x-top\":1e3,`, `\"n\":9007199254740993,\"f\":1.50`} {
			if !strings.Contains(string(got.Raw()), want) {
				t.Errorf("got %s, want %s in it", got.Raw(), want)
			}
		}
	}
}

func TestBadServers(t *testing.T) {
	tests := []struct {
		server  string
		timeout time.Duration
		request string
		want    string
	}{
		{"exit", time.Minute, initialize, `server "exit" exited with status 7`},
		{"silent", 200 * time.Millisecond, initialize, `server "silent" did not answer "initialize" within 200ms, its limit`},
		{"deaf", 200 * time.Millisecond, initialize, `server "deaf" did not answer "initialize" within 200ms, its limit`},
		{"closed", time.Minute, initialize, `server "closed" was stopped: it closed its input or output`},
		{"flood", time.Minute, initialize, `server "flood" was stopped: it sent a line of more than 4194304 bytes, its limit`},
		{"crash", time.Minute, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`, `server "crash" exited with status 3`},
		{"garbage", time.Minute, initialize, ``},
		{"stderr", time.Minute, initialize, ``},
	}
	for _, test := range tests {
		t.Run(test.server, func(t *testing.T) {
			pool, _ := newPool(t)
			s := spec(test.server)
			s.Timeout = test.timeout
			all := call(t, start(t, pool, s), test.request)
			response := all[len(all)-1]
			text, failed := response.Text(response.InError("message"))
			if failed != (test.want != "") || !strings.HasPrefix(text, test.want) {
				t.Errorf("got %s, want error %q", response.Raw(), test.want)
			}
			if strings.Contains(string(response.Raw()), "secret") {
				t.Errorf("got the server's standard error in %s", response.Raw())
			}
		})
	}
}

func TestOutOfMemoryIsNamed(t *testing.T) {
	pool, opener := newPool(t)
	opener.OOM = map[string]bool{"exit": true}
	response := call(t, start(t, pool, spec("exit")), initialize)[0]
	if text, _ := response.Text(response.InError("message")); text != `server "exit" was ended: it reached its memory limit of 64 MiB` {
		t.Errorf("got %s", response.Raw())
	}
}

// A server that does not read must not hold its caller, nor the gateway's memory.
func TestDeafServerBoundsItsQueue(t *testing.T) {
	pool, _ := newPool(t)
	s := spec("deaf")
	s.Timeout = 300 * time.Millisecond
	conn := start(t, pool, s)
	big := `{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":"` + strings.Repeat("x", 1<<20) + `"}}`
	var err error
	for range 8 { // the socket takes a part, the queue a bounded part
		if _, err = conn.Call(t.Context(), parse(t, big)); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), `server "deaf" does not read its input`) {
		t.Errorf("got error %v, want one that says that the input is not read", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := conn.Send(ctx, parse(t, big)); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
}

func TestProgressComesBeforeTheResponse(t *testing.T) {
	pool, _ := newPool(t)
	conn := start(t, pool, spec("echo"))
	all := call(t, conn, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"progress","arguments":{"n":3},"_meta":{"progressToken":"t\u0031"}}}`)
	if len(all) != 4 {
		t.Fatalf("got %d messages, want 4", len(all))
	}
	for i, m := range all[:3] {
		if m.Method() != mcp.MethodProgress || string(m.At(m.Param("progressToken"))) != `"t\u0031"` {
			t.Errorf("message %d: got %s", i, m.Raw())
		}
	}
}

// Two programs with one key may use the same progress token at the same time.
func TestSharedInstanceSeparatesProgressTokens(t *testing.T) {
	pool, _ := newPool(t)
	conn, err := pool.StartInitialized(t.Context(), spec("echo"), 0)
	if err != nil {
		t.Fatal(err)
	}
	request := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"progress","arguments":{"n":2},"_meta":{"progressToken":7}}}`
	first, err := conn.Call(t.Context(), parse(t, request))
	if err != nil {
		t.Fatal(err)
	}
	second, err := conn.Call(t.Context(), parse(t, request))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []link.Call{first, second} {
		all := wait(t, c)
		if len(all) != 3 || string(all[0].At(all[0].Param("progressToken"))) != "7" || string(all[2].ID()) != "1" {
			t.Errorf("got %d messages, the first %s", len(all), all[0].Raw())
		}
	}
}

func TestServerRequestReachesTheCall(t *testing.T) {
	pool, _ := newPool(t)
	conn := start(t, pool, spec("echo"))
	c, err := conn.Call(t.Context(), parse(t, `{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"ask"}}`))
	if err != nil {
		t.Fatal(err)
	}
	<-c.Ready()
	asked := c.Take()
	if len(asked) != 1 || asked[0].Method() != "sampling/createMessage" || string(asked[0].ID()) != `"ask-1"` {
		t.Fatalf("got %v", asked)
	}
	if err := conn.Send(t.Context(), parse(t, `{"jsonrpc":"2.0","id":"ask-1","result":{"n":9007199254740993}}`)); err != nil {
		t.Fatal(err)
	}
	all := wait(t, c)
	if got := string(all[0].Raw()); !strings.Contains(got, `9007199254740993`) || string(all[0].ID()) != `"c"` {
		t.Errorf("got %s", got)
	}
}

func TestSharedInstanceRefusesServerRequests(t *testing.T) {
	pool, _ := newPool(t)
	conn, err := pool.StartInitialized(t.Context(), spec("echo"), 0)
	if err != nil {
		t.Fatal(err)
	}
	all := call(t, conn, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ask"}}`)
	if len(all) != 1 || !strings.Contains(string(all[0].Raw()), "offers no such capability") {
		t.Errorf("got %s", all[0].Raw())
	}
}

func TestPingIsAnsweredHere(t *testing.T) {
	pool, _ := newPool(t)
	all := call(t, start(t, pool, spec("echo")), `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ping"}}`)
	if len(all) != 1 || !strings.Contains(string(all[0].Raw()), `\"id\":\"ping-1\",\"result\":{}`) {
		t.Errorf("got %s", all[0].Raw())
	}
}

func TestUnrelatedMessagesReachTheListener(t *testing.T) {
	pool, _ := newPool(t)
	conn := start(t, pool, spec("echo"))
	inbox, stop, ok := conn.Listen()
	if !ok {
		t.Fatal("got no listener's place")
	}
	if _, _, again := conn.Listen(); again {
		t.Error("got a second listener's place")
	}
	all := call(t, conn, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"log"}}`)
	if len(all) != 2 || all[0].Method() != "notifications/message" {
		t.Errorf("got %d messages of the call, the first %s", len(all), all[0].Raw())
	}
	<-inbox.Ready()
	if got := inbox.Take(); len(got) != 1 || got[0].Method() != "notifications/tools/list_changed" {
		t.Errorf("got %v in the inbox", got)
	}
	stop()
	if _, stop, ok := conn.Listen(); !ok {
		t.Error("got no listener's place after the first had left")
	} else {
		stop()
	}
}

func TestDetachedCallGivesItsRequestsToTheListener(t *testing.T) {
	pool, _ := newPool(t)
	conn := start(t, pool, spec("echo"))
	inbox, stop, _ := conn.Listen()
	defer stop()
	c, err := conn.Call(t.Context(), parse(t, `{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"ask"}}`))
	if err != nil {
		t.Fatal(err)
	}
	c.Detach()
	<-inbox.Ready()
	if got := inbox.Take(); len(got) != 1 || got[0].Method() != "sampling/createMessage" {
		t.Errorf("got %v in the inbox", got)
	}
}

func TestCancelledByTheClient(t *testing.T) {
	pool, _ := newPool(t)
	conn := start(t, pool, spec("echo"))
	c, err := conn.Call(t.Context(), parse(t, `{"jsonrpc":"2.0","id":"mine","method":"tools/call","params":{"name":"wait"}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{`"other"`, `"mine"`, `"mine"`} {
		if err := conn.Send(t.Context(), parse(t, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`+id+`}}`)); err != nil {
			t.Fatal(err)
		}
	}
	response := wait(t, c)[0]
	if text, _ := response.Text(response.InError("message")); text != "the request was cancelled by the client" {
		t.Errorf("got %s", response.Raw())
	}
	// The server saw its own id, and serves on.
	if got := call(t, conn, `{"jsonrpc":"2.0","id":2,"method":"ping"}`)[0]; got.Err() != nil {
		t.Errorf("got %s", got.Raw())
	}
}

func TestIdleInstanceIsStopped(t *testing.T) {
	pool, opener := newPool(t)
	s := spec("echo")
	s.IdleTimeout = 50 * time.Millisecond
	conn := start(t, pool, s)
	<-conn.Done()
	opener.Wait()
	var ended *link.EndedError
	if _, err := conn.Call(t.Context(), parse(t, initialize)); !errors.As(err, &ended) || !errors.Is(err, errIdle) {
		t.Errorf("got error %v, want an link.EndedError of %v", err, errIdle)
	}
}

func TestCloseAnswersCallsInFlight(t *testing.T) {
	pool, _ := newPool(t)
	conn := start(t, pool, spec("echo"))
	c, err := conn.Call(t.Context(), parse(t, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait"}}`))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if response := wait(t, c)[0]; !strings.Contains(string(response.Raw()), errSession.Error()) {
		t.Errorf("got %s", response.Raw())
	}
	<-conn.Done()
}

func TestTooManyCalls(t *testing.T) {
	pool, _ := newPool(t)
	conn := start(t, pool, spec("silent"))
	var err error
	for range maxCalls + 1 {
		if _, err = conn.Call(t.Context(), parse(t, initialize)); err != nil {
			break
		}
	}
	if !errors.Is(err, link.ErrBusy) {
		t.Errorf("got error %v, want %v", err, link.ErrBusy)
	}
}

// One caller does not take all that an instance can do from those who share it.
func TestOthersHaveRoom(t *testing.T) {
	pool, _ := newPool(t)
	s := spec("echo")
	s.Shared = true
	conn, err := pool.StartInitialized(t.Context(), s, 0)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(owner string) error {
		_, err := conn.Ask(t.Context(), parse(t, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait"}}`), Wants{Owner: owner})
		return err
	}
	calls := 0
	for err == nil {
		if err = ask("a"); err == nil {
			calls++
		}
	}
	if calls != maxCalls*3/4 || !errors.Is(err, link.ErrBusy) {
		t.Errorf("got %d calls of one caller, then %v", calls, err)
	}
	for calls = 0; ask("b") == nil; calls++ {
	}
	if calls != maxCalls/4 {
		t.Errorf("got %d calls of another, want %d", calls, maxCalls/4)
	}
}

// Many callers at once each get the answer to what they asked.
func TestConcurrentCallsAreNotMixedUp(t *testing.T) {
	pool, _ := newPool(t)
	conn := start(t, pool, spec("echo"))
	var callers sync.WaitGroup
	for i := range 16 {
		callers.Go(func() {
			for range 20 {
				id := fmt.Sprintf(`"caller-%d"`, i)
				c, err := conn.Call(t.Context(), parse(t, `{"jsonrpc":"2.0","id":`+id+`,"method":"tools/call","params":{"name":"again","arguments":{"mine":`+id+`}}}`))
				if err != nil {
					t.Error(err)
					return
				}
				<-c.Ready()
				got := c.Take()
				if len(got) != 1 || string(got[0].ID()) != id || !strings.Contains(string(got[0].Raw()), fmt.Sprintf(`caller-%d\"`, i)) {
					t.Errorf("caller %d: got %v", i, got)
				}
			}
		})
	}
	callers.Wait()
}
