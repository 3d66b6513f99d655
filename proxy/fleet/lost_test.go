package fleet

import (
	"strings"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

const goneWithDaemon = "has ended with the gateway's daemon"

// answers wants a session to be served.
func answers(t *testing.T, session link.Session) {
	t.Helper()
	if answer := ask(t, session, "tools/call", `"name":"pid"`); answer.Err() != nil {
		t.Errorf("got %s", answer.Raw())
	}
}

// A daemon that dies takes all servers with it. That is no fault of theirs: no breaker
// opens, no row of restarts begins, and sessions go on.
func TestDaemonDies(t *testing.T) {
	fleet, opener := newFleet(t)
	told := watchEvents(fleet)
	brittle := restarted("mortal")
	brittle.Breaker = &policy.Breaker{Failures: 1, Window: time.Hour, OpenFor: time.Hour, HalfOpen: 1}
	brittle.Restart.Limit = 1
	final := copied(brittle)
	final.OnCrash = policy.OnCrashEndSession
	session, ending := opened(t, fleet, brittle), opened(t, fleet, final)
	shared := copied(brittle)
	shared.Instances = policy.InstancesShared
	shared.Server = "modern"
	route := fleet.Server(shared, by("key:b"))
	do(t, route, request(t, "{}", "tools/call", `"name":"pid"`))
	var waiting []link.Call
	for range 3 {
		call, err := session.Call(t.Context(), parse(t, `{"jsonrpc":"2.0","id":"mine","method":"tools/call","params":{"name":"wait"}}`))
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, call)
	}
	call, err := route.Do(t.Context(), request(t, "{}", "tools/call", `"name":"wait"`))
	if err != nil {
		t.Fatal(err)
	}
	waiting = append(waiting, call)
	began := time.Now()
	opener.Die()
	for _, call := range waiting {
		if answer := await(t, call); answer.Failure() != mcp.FailureEnded || !strings.Contains(string(answer.Raw()), goneWithDaemon) {
			t.Errorf("in flight: got %s", answer.Raw())
		}
	}
	answers(t, session)
	if answer := do(t, route, request(t, "{}", "tools/call", `"name":"pid"`)); answer.Err() != nil {
		t.Errorf("shared: got %s", answer.Raw())
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
	<-ending.Done()
	if err := ending.Err(); err == nil || !strings.Contains(err.Error(), goneWithDaemon) {
		t.Errorf("a session that ends with its process: got %v", err)
	}
	if got := fleet.Rows(); len(got) != 0 {
		t.Errorf("got rows of restarts %+v", got)
	}
	for _, s := range fleet.States() {
		if s.State.State != "closed" {
			t.Errorf("got a breaker %+v", s)
		}
	}
	if n := told.count(Restarted, ""); n != 0 {
		t.Errorf("got %d restarts told", n)
	}
	lost := 0
	told.mu.Lock()
	for _, e := range told.all {
		if e.Lost && e.Kind == Ended && !e.Failed && e.Cause == backend.CauseStopped {
			lost++
		}
	}
	told.mu.Unlock()
	if lost != 3 {
		t.Errorf("got %d ends told that were the daemon's, want 3", lost)
	}
}

// Nobody waits for a server that can't end with its daemon.
func TestDaemonDiesAndItsServerStays(t *testing.T) {
	fleet, opener := newFleet(t)
	session := opened(t, fleet, restarted("mortal"))
	call, err := session.Call(t.Context(), parse(t, `{"jsonrpc":"2.0","id":"mine","method":"tools/call","params":{"name":"wait"}}`))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	opener.Vanish()
	if answer := await(t, call); !strings.Contains(string(answer.Raw()), goneWithDaemon) || time.Since(began) > time.Second {
		t.Errorf("got %s after %s", answer.Raw(), time.Since(began))
	}
	answers(t, session)
}

// A start that the daemon's end has cut short is begun anew, in the era that it was begun
// in: what was not said by the server says nothing of it.
func TestDaemonDiesDuringAStart(t *testing.T) {
	t.Run("a session's first", func(t *testing.T) {
		fleet, opener := newFleet(t)
		opener.Doom(1)
		answers(t, opened(t, fleet, restarted("mortal")))
	})
	t.Run("a session's next", func(t *testing.T) {
		fleet, opener := newFleet(t)
		first := opened(t, fleet, restarted("mortal")).(*session)
		opener.Die()
		<-first.now.conn.Done()
		opener.Doom(1)
		answers(t, first)
		if got := fleet.Rows(); len(got) != 0 {
			t.Errorf("got rows of restarts %+v", got)
		}
	})
	t.Run("stateless", func(t *testing.T) {
		fleet, opener := newFleet(t)
		opener.Doom(2)
		if answer := do(t, fleet.Server(restarted("modern"), by("key:a")), request(t, "{}", "tools/call", `"name":"pid"`)); answer.Err() != nil {
			t.Errorf("got %s", answer.Raw())
		}
		if got := opener.Opened(); len(got) != 3 {
			t.Errorf("got %q started, want the third to be of the first era that was tried", got)
		}
	})
}

// What another daemon calls otherwise is forgotten.
func TestErasOfProgramsThatAreGone(t *testing.T) {
	fleet, _ := newFleet(t)
	s := spec("modern")
	for _, program := range []string{"a", "b", "c"} {
		s.Program = program
		fleet.Reconcile(of(s))
		fleet.eras.of(program).set(stateless)
	}
	if len(fleet.eras.known) != 1 || fleet.eras.of("c").get() != stateless {
		t.Errorf("got %d programs known, want 1", len(fleet.eras.known))
	}
}
