package health

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/proxytest"
	"mcpgateway/runtime/control"
)

func TestMain(m *testing.M) {
	os.Exit(proxytest.Main(m, proxytest.Own{
		"emptied":   func() int { return lists(`"result":{"tools":[ ]}`, "") },
		"refusing":  func() int { return lists(`"error":{"code":-32603,"message":"gone"}`, "") },
		"listless":  func() int { return lists(`"result":{}`, "") },
		"announced": func() int { return lists(`"result":{"tools":[]}`, "notifications/tools/list_changed") },
		"paged":     func() int { return lists(`"result":{"tools":[],"nextCursor":"2"}`, "") },
	}))
}

// lists is a server whose first list has a tool, and whose others are something else, of
// which it tells by a notification.
func lists(afterwards, told string) int {
	answer := `"result":{"tools":[{"name":"echo","inputSchema":{"type":"object"}}]}`
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var e struct {
			ID     json.RawMessage
			Method string
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return 9
		}
		switch e.Method {
		case "initialize":
			fmt.Fprintf(os.Stdout, `{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"x","version":"1"}}}`+"\n", e.ID)
		case "tools/list":
			fmt.Fprintf(os.Stdout, `{"jsonrpc":"2.0","id":%s,%s}`+"\n", e.ID, answer)
			if answer != afterwards && told != "" {
				fmt.Fprintf(os.Stdout, `{"jsonrpc":"2.0","method":%q}`+"\n", told)
			}
			answer = afterwards
		case "ping":
			fmt.Fprintf(os.Stdout, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"what?"}}`+"\n", e.ID)
		}
	}
	return 0
}

// ward is the instances of a pool, and the daemon.
type ward struct {
	*backend.Pool
	*proxytest.Opener

	frozen bool // all of them, as the daemon says
	gaveUp chan string
}

func (w *ward) GiveUp(conn *backend.Conn, why string) { w.gaveUp <- conn.GiveUp(why).Error() }

// Exited is the pool's: the opener has one, too.
func (w *ward) Exited(exit control.Exit) { w.Pool.Exited(exit) }

func (w *ward) List(ctx context.Context) ([]control.Sandbox, error) {
	all, err := w.Opener.List(ctx)
	for i := range all {
		all[i].Frozen = w.frozen
	}
	return all, err
}

func newWard(t *testing.T) *ward {
	t.Helper()
	goroutines := goleak.IgnoreCurrent()
	opener := &proxytest.Opener{}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	w := &ward{Pool: backend.NewPool(opener, nil, log), Opener: opener, gaveUp: make(chan string, 8)}
	opener.Exited = w.Pool.Exited
	t.Cleanup(func() {
		w.Close()
		opener.Wait()
		goleak.VerifyNone(t, goroutines)
	})
	return w
}

func spec(server string) backend.Spec {
	return backend.Spec{Server: server, Gateway: "test", Timeout: time.Minute, IdleTimeout: time.Hour, MaxMessageBytes: 1 << 20}
}

// start starts an instance that the gateway is the client of.
func (w *ward) start(t *testing.T, s backend.Spec) *backend.Conn {
	t.Helper()
	start := func() (*backend.Conn, error) { return w.StartInitialized(t.Context(), s, 0) }
	if s.Server == "modern" {
		start = func() (*backend.Conn, error) { return w.StartStateless(t.Context(), s, time.Minute) }
	}
	conn, err := start()
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// session starts an instance that a client of the handshake era is the client of.
func (w *ward) session(t *testing.T, s backend.Spec) *backend.Conn {
	t.Helper()
	conn, err := w.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	ask(t, conn, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`)
	return conn
}

func send(t *testing.T, conn *backend.Conn, text string) link.Call {
	t.Helper()
	m, err := mcp.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	call, err := conn.Call(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return call
}

func ask(t *testing.T, conn *backend.Conn, text string) mcp.Message {
	t.Helper()
	answer, err := link.Await(t.Context(), send(t, conn, text))
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// halt makes an instance one that does nothing any more, as far as its pool knows.
func (w *ward) halt(t *testing.T, conn *backend.Conn) {
	t.Helper()
	if err := w.Freeze(t.Context(), conn.Sandbox()); err != nil {
		t.Fatal(err)
	}
	running, _ := w.Opener.List(t.Context()) // it never fails
	i := slices.IndexFunc(running, func(s control.Sandbox) bool { return s.ID == conn.Sandbox() })
	for t.Context().Err() == nil {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", running[i].PID))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(stat), ") T ") {
			return
		}
	}
}

// watch checks until the end of the test.
func watch(t *testing.T, w *ward, rules *policy.Health) *Checker {
	t.Helper()
	c := New(w, slog.New(slog.NewTextHandler(t.Output(), nil)))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx, w, func() *policy.Health { return rules }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return c
}

func often() *policy.Health {
	return &policy.Health{Interval: 20 * time.Millisecond, Timeout: 50 * time.Millisecond}
}

// checked waits until so many checks of a server have ended.
func checked(t *testing.T, c *Checker, ok, failed uint64) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		for _, count := range c.Counts() {
			if count.OK >= ok && count.Failed >= failed {
				return
			}
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("no check has ended")
		}
	}
}

// Servers of either era that stop, whoever their client is, are found and given up; until
// then they are well.
func TestHungInstanceIsGivenUp(t *testing.T) {
	tests := []struct {
		server, method string
		start          func(*ward, *testing.T, backend.Spec) *backend.Conn
	}{
		{"echo", "ping", (*ward).start},
		{"echo", "ping", (*ward).session},
		{"modern", "server/discover", (*ward).start},
	}
	for _, test := range tests {
		t.Run(test.server, func(t *testing.T) {
			w := newWard(t)
			conn := test.start(w, t, spec(test.server))
			c := watch(t, w, often())
			checked(t, c, 3, 0)
			if why := c.Failing(conn); why != "" || conn.Err() != nil {
				t.Fatalf("got %q, %v from a server that answers", why, conn.Err())
			}
			w.halt(t, conn)
			want := fmt.Sprintf(`server %q was stopped: it failed 2 health checks in a row: it did not answer %s within `, test.server, test.method)
			if got := <-w.gaveUp; !strings.HasPrefix(got, want) {
				t.Errorf("got %q, want %q…", got, want)
			}
			<-conn.Done()
			if got := c.Counts(); len(got) != 1 || got[0].Server != test.server || got[0].Failed != 2 {
				t.Errorf("got counts %+v, want 2 failed", got)
			}
		})
	}
}

// An instance that somebody froze by hand is not woken, and not given up.
func TestFrozenByHandIsNoFailure(t *testing.T) {
	w := newWard(t)
	conn := w.start(t, spec("echo"))
	w.halt(t, conn)
	w.frozen = true
	c := New(w, slog.New(slog.NewTextHandler(t.Output(), nil)))
	for range 3 {
		r := &record{}
		c.check(t.Context(), conn, r, *often(), w)
		if r.failures != 0 || len(c.Counts()) != 0 || conn.Err() != nil {
			t.Fatalf("got %d failures, counts %v, error %v", r.failures, c.Counts(), conn.Err())
		}
	}
}

// One that is busy, or may be, is not asked; nor is one that the gateway froze. None of
// them is woken.
func TestWhoIsNotAsked(t *testing.T) {
	freezing := spec("echo")
	freezing.FreezeAfter = time.Millisecond
	frozen := make(chan bool, 8)
	tests := []struct {
		name string
		make func(*ward, *testing.T) *backend.Conn
	}{
		{"a call in flight", func(w *ward, t *testing.T) *backend.Conn {
			conn := w.start(t, spec("modern"))
			send(t, conn, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`)
			return conn
		}},
		{"a call that was given up, and may go on", func(w *ward, t *testing.T) *backend.Conn {
			conn := w.start(t, spec("modern"))
			send(t, conn, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`).Cancel("enough")
			return conn
		}},
		{"a task", func(w *ward, t *testing.T) *backend.Conn {
			conn := w.session(t, spec("echo"))
			ask(t, conn, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"again","task":{}}}`)
			return conn
		}},
		{"frozen", func(w *ward, t *testing.T) *backend.Conn {
			w.Halting = func(freeze bool) error { frozen <- freeze; return nil }
			conn := w.start(t, freezing)
			<-frozen
			return conn
		}},
		{"not initialised", func(w *ward, t *testing.T) *backend.Conn {
			conn, err := w.Start(t.Context(), spec("echo"))
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWard(t)
			conn := test.make(w, t)
			c := New(w, slog.New(slog.NewTextHandler(t.Output(), nil)))
			r := &record{}
			c.check(t.Context(), conn, r, *often(), w)
			if r.checks != 0 || len(c.Counts()) != 0 || conn.Err() != nil {
				t.Errorf("got %d checks, counts %v, error %v", r.checks, c.Counts(), conn.Err())
			}
			select {
			case <-frozen:
				t.Error("it was thawed")
			default:
			}
		})
	}
}

// A check is no use: an instance that is checked all the time ends for idleness, and is
// frozen.
func TestChecksAreNoUse(t *testing.T) {
	w := newWard(t)
	idle := spec("echo")
	idle.IdleTimeout = 100 * time.Millisecond
	conn := w.start(t, idle)
	watch(t, w, &policy.Health{Interval: time.Millisecond, Timeout: time.Minute})
	<-conn.Done()

	frozen := make(chan bool, 8)
	w.Halting = func(freeze bool) error { frozen <- freeze; return nil }
	halted := spec("echo")
	halted.FreezeAfter = 100 * time.Millisecond
	conn = w.start(t, halted)
	if freeze := <-frozen; !freeze {
		t.Error("thawed before it was frozen")
	}
	if conn.Err() != nil {
		t.Error(conn.Err())
	}
}

// Tools that were there and are not any more are a failure, unless the server says so.
func TestToolsThatAreGone(t *testing.T) {
	for server, want := range map[string]string{
		"emptied":   "all its tools are gone, and it did not say so",
		"refusing":  `it answered tools/list with an error (code "-32603"), and had a list before`,
		"listless":  "it answered tools/list without a list, and had one before",
		"announced": "",
		"paged":     "",
	} {
		t.Run(server, func(t *testing.T) {
			w := newWard(t)
			conn := w.start(t, spec(server))
			c := New(w, slog.New(slog.NewTextHandler(t.Output(), nil)))
			r := &record{}
			by := policy.Health{Interval: time.Minute, Timeout: time.Minute}
			for i := range toolsEvery {
				c.check(t.Context(), conn, r, by, w)
				if r.failures != 0 {
					t.Fatalf("check %d failed: %s", i, r.why)
				}
			}
			c.check(t.Context(), conn, r, by, w)
			if got := r.why; got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
			c.check(t.Context(), conn, r, by, w) // they are looked for again at once
			if given := len(w.gaveUp) == 1; given != (want != "") {
				t.Errorf("given up: %v", given)
			}
		})
	}
}

// Without rules nobody is asked.
func TestNoRules(t *testing.T) {
	w := newWard(t)
	w.start(t, spec("echo"))
	c := New(w, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if due := c.due(nil); len(due) != 0 {
		t.Errorf("got %d that are due", len(due))
	}
}

// One failure is forgiven.
func TestInstanceRecovers(t *testing.T) {
	w := newWard(t)
	conn := w.start(t, spec("echo"))
	c := New(w, slog.New(slog.NewTextHandler(t.Output(), nil)))
	for range 3 {
		w.halt(t, conn)
		r := c.due(&policy.Health{Interval: time.Nanosecond})[conn]
		c.check(t.Context(), conn, r, *often(), w)
		if why := c.Failing(conn); !strings.HasPrefix(why, "it did not answer ping within") {
			t.Fatalf("got %q", why)
		}
		if err := w.Thaw(t.Context(), conn.Sandbox()); err != nil {
			t.Fatal(err)
		}
		c.check(t.Context(), conn, r, policy.Health{Interval: time.Nanosecond, Timeout: time.Minute}, w)
		if why := c.Failing(conn); why != "" || conn.Err() != nil {
			t.Fatalf("got %q, %v", why, conn.Err())
		}
	}
}
