package fleet

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/proxytest"
)

func TestMain(m *testing.M) { os.Exit(proxytest.Main(m)) }

// newFleet gives a fleet whose servers are real processes, and checks at the end
// that none of them and no goroutine is left.
func newFleet(t testing.TB) (*Fleet, *proxytest.Opener) {
	t.Helper()
	goroutines := goleak.IgnoreCurrent()
	opener := &proxytest.Opener{}
	fleet := New(opener, nil, slog.New(slog.NewTextHandler(t.Output(), nil)))
	opener.Exited = fleet.Exited
	t.Cleanup(func() {
		fleet.Close()
		opener.Wait()
		if got := opener.Running(); got != 0 {
			t.Errorf("got %d servers left, want 0", got)
		}
		goleak.VerifyNone(t, goroutines)
	})
	return fleet, opener
}

// copied is a spec that may be changed, though the fleet has the other.
func copied(s *Spec) *Spec {
	c := *s
	return &c
}

func spec(server string) *Spec {
	return &Spec{Replicas: 1, Spec: backend.Spec{
		Server: server, Gateway: "test", Timeout: time.Minute, IdleTimeout: time.Hour, MaxMessageBytes: 4 << 20,
	}}
}

func by(subject string) Owner { return Owner{Subject: subject} }

func parse(t *testing.T, text string) mcp.Message {
	t.Helper()
	m, err := mcp.Parse([]byte(text))
	if err != nil {
		t.Fatalf("parse %s: %v", text, err)
	}
	return m
}

// request is one of the stateless era.
func request(t *testing.T, capabilities, method, params string) mcp.Message {
	t.Helper()
	if params != "" {
		params = "," + params
	}
	return parse(t, `{"jsonrpc":"2.0","id":"mine","method":"`+method+`","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":`+
		capabilities+`}`+params+`}}`)
}

// do passes a request on and returns its response.
func do(t *testing.T, server link.Server, m mcp.Message) mcp.Message {
	t.Helper()
	call, err := server.Do(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := link.Await(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// pid asks the instance that serves a server for its process.
func pid(t *testing.T, server link.Server) string {
	t.Helper()
	answer := do(t, server, request(t, "{}", "tools/call", `"name":"pid"`))
	if answer.Err() != nil {
		t.Fatalf("got %s", answer.Raw())
	}
	return string(answer.Result())
}

func TestOwnersHaveInstancesOfTheirOwn(t *testing.T) {
	for _, server := range []string{"crash", "modern"} {
		t.Run(server, func(t *testing.T) {
			fleet, _ := newFleet(t)
			list := func(owner Owner) {
				do(t, fleet.Server(spec(server), owner), request(t, "{}", "tools/list", ""))
			}
			list(by("key:a"))
			list(by("key:a"))
			if got := len(fleet.slots); got != 1 {
				t.Errorf("got %d instances for one caller, want 1", got)
			}
			list(by("key:b"))
			list(Owner{Subject: "key:a", Session: "s"})
			if got := len(fleet.slots); got != 3 {
				t.Errorf("got %d instances for two callers and a session, want 3", got)
			}
			fleet.End("s")
			if got := len(fleet.slots); got != 2 {
				t.Errorf("got %d instances after the session's end, want 2", got)
			}
		})
	}
}

func TestDeadInstanceIsReplaced(t *testing.T) {
	fleet, _ := newFleet(t)
	for server, crash := range map[string]string{"crash": "x", "modern": "crash"} {
		route := fleet.Server(spec(server), by("key:a"))
		answer := do(t, route, request(t, "{}", "tools/call", `"name":"`+crash+`"`))
		if text, _ := answer.Text(answer.InError("message")); !strings.Contains(text, "exited with status 3") {
			t.Errorf("%s: got %s", server, answer.Raw())
		}
		if answer = do(t, route, request(t, "{}", "tools/list", "")); answer.Err() != nil {
			t.Errorf("%s: got %s after the crash", server, answer.Raw())
		}
	}
}

func TestStartsThatFailSayWhy(t *testing.T) {
	fleet, opener := newFleet(t)
	opener.Fail = map[string]error{"missing": errors.New("the command is not visible")}
	for _, test := range []struct{ server, want string }{
		{"missing", `start server "missing": the command is not visible`},
		{"exit", `start server "exit": server "exit" exited with status 7`},
	} {
		_, err := fleet.Server(spec(test.server), by("key:a")).Do(t.Context(), request(t, "{}", "tools/list", ""))
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("server %s: got error %v, want %q", test.server, err, test.want)
		}
	}
}

// A program is asked once what it speaks; a process that was asked and is of the
// other era is not used.
func TestEraIsRemembered(t *testing.T) {
	fleet, opener := newFleet(t)
	for _, test := range []struct {
		server string
		starts int
	}{{"echo", 2}, {"echo.again", 3}, {"modern", 4}, {"modern.again", 5}} {
		s := spec(test.server)
		s.Program, _, _ = strings.Cut(test.server, ".")
		answer := do(t, fleet.Server(s, by("key:a")), request(t, "{}", "server/discover", ""))
		if !strings.Contains(string(answer.Raw()), `"supportedVersions":["2026-07-28"`) {
			t.Errorf("%s: got %s", test.server, answer.Raw())
		}
		if got := len(opener.Opened()); got != test.starts {
			t.Errorf("%s: got %d processes started, want %d", test.server, got, test.starts)
		}
	}
}

// A program that was replaced by one of the other era is asked again.
func TestChangedProgramIsAskedAgain(t *testing.T) {
	fleet, _ := newFleet(t)
	for _, server := range []string{"modern", "echo", "modern"} {
		s := spec(server)
		s.Program = "changing"
		if answer := do(t, fleet.Server(s, by("key:"+server)), request(t, "{}", "tools/list", "")); answer.Err() != nil {
			t.Errorf("%s: got %s", server, answer.Raw())
		}
	}
}

// What a client offers is said to a handshake-era server once, so clients who offer
// something else have another instance; the other era says it with each request.
func TestOffersSeparateHandshakeInstances(t *testing.T) {
	for server, want := range map[string]int{"echo": 3, "modern": 1} {
		fleet, _ := newFleet(t)
		route := fleet.Server(spec(server), by("key:a"))
		for _, offer := range []string{`{"sampling":{}}`, `{}`, `{"elicitation":{"form":{}}}`, `{"elicitation":{}}`, `{"unknown":{}}`} {
			do(t, route, request(t, offer, "tools/list", ""))
		}
		if got := len(fleet.slots); got != want {
			t.Errorf("%s: got %d instances, want %d", server, got, want)
		}
	}
}

// One caller leaves room for others: over its limit, what it has not used for longest
// makes place, and if all is in use, it waits.
func TestCallersAreBounded(t *testing.T) {
	fleet, _ := newFleet(t)
	limited := func(server string) *Spec {
		s := spec(server)
		s.MaxPerCaller = 2
		return s
	}
	first := pid(t, fleet.Server(limited("modern"), by("key:a")))
	pid(t, fleet.Server(limited("modern.2"), by("key:a")))
	pid(t, fleet.Server(limited("modern.3"), by("key:a")))
	if got := len(fleet.slots); got != 2 {
		t.Errorf("got %d instances, want 2", got)
	}
	if again := pid(t, fleet.Server(limited("modern"), by("key:a"))); again == first {
		t.Error("got the instance that was idle for longest, want that it has ended")
	}
	for _, server := range []string{"modern", "modern.3"} {
		call, err := fleet.Server(limited(server), by("key:a")).Do(t.Context(), request(t, "{}", "tools/call", `"name":"wait"`))
		if err != nil {
			t.Fatal(err)
		}
		defer call.Cancel("the test is over")
	}
	if _, err := fleet.Server(limited("modern.2"), by("key:a")).Do(t.Context(), request(t, "{}", "tools/list", "")); !errors.Is(err, link.ErrBusy) {
		t.Errorf("got error %v, want %v", err, link.ErrBusy)
	}
	pid(t, fleet.Server(limited("modern.2"), by("key:b"))) // another may
}

func TestReplicas(t *testing.T) {
	tests := []struct {
		strategy policy.Strategy
		want     int // processes that serve two identities, two requests each
	}{
		{policy.StrategyLeastBusy, 1}, // nobody is busy
		{policy.StrategyRoundRobin, 3},
		{policy.StrategyConsistentHash, 2},
	}
	for _, test := range tests {
		t.Run(string(test.strategy), func(t *testing.T) {
			fleet, _ := newFleet(t)
			s := spec("modern")
			s.Instances, s.Replicas, s.Strategy = policy.InstancesShared, 3, test.strategy
			processes := map[string]bool{}
			one, other := "key:a", "key:b"
			for rendezvous(one, []int{0, 1, 2}) == rendezvous(other, []int{0, 1, 2}) {
				other += "b"
			}
			for _, owner := range []string{one, other, one, other} {
				processes[pid(t, fleet.Server(s, by(owner)))] = true
			}
			if len(processes) != test.want {
				t.Errorf("got %d processes, want %d", len(processes), test.want)
			}
		})
	}
}

func TestBusyReplicaIsPassedOver(t *testing.T) {
	fleet, opener := newFleet(t)
	s := spec("modern")
	s.Instances, s.Replicas = policy.InstancesShared, 2
	first := pid(t, fleet.Server(s, by("key:a")))
	call, err := fleet.Server(s, by("key:a")).Do(t.Context(), request(t, "{}", "tools/call", `"name":"wait"`))
	if err != nil {
		t.Fatal(err)
	}
	if second := pid(t, fleet.Server(s, by("key:b"))); second == first {
		t.Error("got the busy replica while another could be started")
	}
	call.Cancel("the test is over")
	if got := opener.Running(); got != 2 {
		t.Errorf("got %d replicas, want 2", got)
	}
}

// An identity keeps its replica when others are added, unless it moves to a new one.
func TestRendezvousMovesFew(t *testing.T) {
	moved := 0
	for i := range 1000 {
		subject := "key:" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + string(rune('0'+i/100))
		before, after := rendezvous(subject, []int{0, 1, 2, 3}), rendezvous(subject, []int{0, 1, 2, 3, 4})
		if before != after {
			moved++
			if after != 4 {
				t.Fatalf("%s moved from %d to %d, want to the new one", subject, before, after)
			}
		}
	}
	if moved == 0 || moved > 400 {
		t.Errorf("got %d of 1000 moved, want about 200", moved)
	}
}

func TestSpareGoesToTheFirstCaller(t *testing.T) {
	fleet, opener := newFleet(t)
	if err := fleet.Warm(t.Context(), spec("echo")); err != nil {
		t.Fatal(err)
	}
	starts := len(opener.Opened())
	for _, subject := range []string{"key:a", "key:b"} {
		pid(t, fleet.Server(spec("echo"), by(subject)))
	}
	if got := len(opener.Opened()) - starts; got != 1 {
		t.Errorf("got %d more processes for two callers, want 1", got)
	}
}

func TestSparesAreReplenished(t *testing.T) {
	fleet, opener := newFleet(t)
	s := spec("modern")
	s.Warm = 2
	s.IdleTimeout = 10 * time.Millisecond // which is not for spares
	fleet.KeepWarm(map[string]*Spec{"modern": s})
	waitFor(t, func() bool { return fleet.spare("modern") == 2 })
	held := spec("modern")
	pid(t, fleet.Server(held, by("key:a")))
	waitFor(t, func() bool { return fleet.spare("modern") == 2 })
	if got := len(opener.Opened()); got != 3 {
		t.Errorf("got %d processes started, want 3", got)
	}
	fleet.KeepWarm(map[string]*Spec{})
	waitFor(t, func() bool { return fleet.spare("modern") == 0 })
}

// A session of its client's own era has an instance that was started ahead and that
// nobody has spoken to, and no two have the same. What is kept for it serves the other era, too.
func TestSessionsTakeSpares(t *testing.T) {
	fleet, opener := newFleet(t)
	told := watchEvents(fleet)
	s := spec("echo")
	s.Warm, s.Revision = 2, "1"
	fleet.Reconcile(of(s))
	ready := func() bool { return fleet.spare("echo") == 2 }
	waitFor(t, ready)
	if got := told.count(Started, ""); got != 0 {
		t.Errorf("got %d starts told before anybody came, want none", got)
	}
	pids := map[string]bool{}
	for i := range 3 {
		sandboxes := len(opener.Opened()) // those of the session, and of what takes its place
		pids[sessionPID(t, opened(t, fleet, s))] = true
		waitFor(t, ready)
		if got := len(opener.Opened()) - sandboxes; got != 1 {
			t.Errorf("session %d: got %d processes started, want the one that is spare now", i, got)
		}
	}
	offers := request(t, `{"sampling":{}}`, "tools/call", `"name":"pid"`)
	pids[string(do(t, fleet.Server(s, by("key:b")), offers).Result())] = true
	waitFor(t, ready)
	if len(pids) != 4 {
		t.Errorf("got %d processes for four callers", len(pids))
	}
	last := fleet.spareConns("echo")
	s.Revision = "2"
	fleet.Reconcile(of(s))
	for _, conn := range last {
		<-conn.Done()
	}
	waitFor(t, func() bool { return ready() && !fleet.spareIsLeaving("echo") })
}

// Where nothing but a shared instance is to be had, what is kept ready is initialised.
func TestSharedSparesAreInitialised(t *testing.T) {
	fleet, _ := newFleet(t)
	s := spec("echo")
	s.Warm, s.Instances = 1, policy.InstancesShared
	fleet.Reconcile(of(s))
	waitFor(t, func() bool { return fleet.spare("echo") == 1 })
	if conn := fleet.spareConns("echo")[0]; conn.Hello().Raw() == nil {
		t.Error("it was not asked who it is")
	}
}

func (f *Fleet) spare(server string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.spares[server]; s != nil {
		return len(s.have)
	}
	return 0
}

// waitFor waits for something that has no channel.
func waitFor(t *testing.T, happened func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !happened() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("it did not happen")
		}
	}
}

func TestOpenPassesInitializeOn(t *testing.T) {
	fleet, _ := newFleet(t)
	initialize := parse(t, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`)
	session, answer, ok, err := fleet.Open(t.Context(), spec("echo"), "key:a", initialize)
	if err != nil || !ok || session == nil || !strings.Contains(string(answer.Raw()), `"instructions":"be kind"`) {
		t.Errorf("got %v, %s, %v, %v", session, answer.Raw(), ok, err)
	}
	for range 2 { // the second time it is known
		if session, _, ok, err := fleet.Open(t.Context(), spec("modern"), "key:a", initialize); session != nil || ok || err != nil {
			t.Errorf("got %v, %v, %v from a server of the other era, want that it needs a translation", session, ok, err)
		}
	}
	shared := spec("echo")
	shared.Instances = policy.InstancesShared
	if session, _, ok, err := fleet.Open(t.Context(), shared, "key:a", initialize); session != nil || ok || err != nil {
		t.Errorf("got %v, %v, %v from a shared server, want that it needs a translation", session, ok, err)
	}
}

// Sessions that find out at once what a server speaks leave one instance, not one each.
func TestFindingOutLeavesOneInstance(t *testing.T) {
	fleet, _ := newFleet(t)
	initialize := parse(t, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`)
	var opening sync.WaitGroup
	for range 4 {
		opening.Go(func() {
			if session, _, ok, err := fleet.Open(t.Context(), spec("modern"), "key:a", initialize); session != nil || ok || err != nil {
				t.Errorf("got %v, %v, %v", session, ok, err)
			}
		})
	}
	opening.Wait()
	if got := len(fleet.spares["modern"].have); got != 1 {
		t.Errorf("got %d instances that nobody has", got)
	}
}

// A client can't make others' sessions be translated by sending nonsense.
func TestBadInitializeChangesNothing(t *testing.T) {
	fleet, _ := newFleet(t)
	bad := parse(t, `{"jsonrpc":"2.0","id":1,"method":"server/discover"}`)
	for range 2 {
		session, answer, ok, err := fleet.Open(t.Context(), spec("echo"), "key:a", bad)
		if session != nil || !ok || err != nil || answer.Err() == nil {
			t.Errorf("got %v, %s, %v, %v, want the server's own error", session, answer.Raw(), ok, err)
		}
	}
}

func TestCallersContextEndsTheWait(t *testing.T) {
	fleet, _ := newFleet(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := fleet.Server(spec("silent"), by("key:a")).Do(ctx, request(t, "{}", "tools/list", "")); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
}
