package fleet

import (
	"strings"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// at is a server in one of its revisions, for all callers together.
func at(server, revision string) *Spec {
	s := spec(server)
	s.Revision, s.Instances = revision, policy.InstancesShared
	return s
}

func of(specs ...*Spec) map[string]*Spec {
	all := map[string]*Spec{}
	for _, s := range specs {
		all[s.Server] = copied(s)
	}
	return all
}

// begin passes on a request and waits until the server has it.
func begin(t *testing.T, server link.Server, params string) link.Call {
	t.Helper()
	call, err := server.Do(t.Context(), request(t, `{"sampling":{}}`, "tools/call", params))
	if err != nil {
		t.Fatal(err)
	}
	return call
}

func await(t *testing.T, call link.Call) mcp.Message {
	t.Helper()
	answer, err := link.Await(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// A changed server gets a new process; calls in flight are answered by the old one,
// and processes of servers that are as they were stay.
func TestChangedServerDrains(t *testing.T) {
	fleet, opener := newFleet(t)
	fleet.Reconcile(of(at("echo", "1"), at("echo.2", "1")))
	changed, other := fleet.Server(at("echo", "1"), by("key:a")), fleet.Server(at("echo.2", "1"), by("key:a"))
	first, unchanged := pid(t, changed), pid(t, other)
	slow := begin(t, changed, `"name":"slow","arguments":{"N":5}`)

	fleet.Reconcile(of(at("echo", "2"), at("echo.2", "1")))
	second := pid(t, changed) // by the old route, and while the old one has a call
	if second == first {
		t.Error("a new call went to the old process")
	}
	waitFor(t, func() bool { return opener.Running() == 3 }) // one of them drains, and who spoke the other era has ended
	if answer := await(t, slow); !strings.Contains(string(answer.Result()), "done") {
		t.Errorf("the call in flight: got %s, want its answer", answer.Raw())
	}
	waitFor(t, func() bool { return opener.Running() == 2 })
	if got := pid(t, other); got != unchanged {
		t.Errorf("the other server: got process %s, want %s still", got, unchanged)
	}
	if got := pid(t, changed); got != second {
		t.Errorf("got process %s, want %s still", got, second)
	}
	fleet.Reconcile(of(at("echo", "2"), at("echo.2", "1")))
	if got := pid(t, changed); got != second {
		t.Errorf("after a reload without a change: got process %s, want %s still", got, second)
	}
}

// What never ends by itself has an end: calls that take too long.
func TestDrainIsBounded(t *testing.T) {
	fleet, opener := newFleet(t)
	s := at("echo", "1")
	s.Timeout = time.Hour
	fleet.Reconcile(of(s))
	server := fleet.Server(s, by("key:a"))
	pid(t, server)
	s.Timeout = time.Second / 5 // of the calls to come, and of the wait for those in flight
	waits := begin(t, server, `"name":"wait"`)
	fleet.Reconcile(of(s))
	fleet.Reconcile(nil)
	answer := await(t, waits)
	if text, _ := answer.Text(answer.InError("message")); text != `server "echo" was stopped: its configuration has changed` {
		t.Errorf("got %s, want the reason", answer.Raw())
	}
	waitFor(t, func() bool { return opener.Running() == 0 })
	if _, err := server.Do(t.Context(), request(t, "{}", "tools/list", "")); err == nil || !strings.Contains(err.Error(), "no more") {
		t.Errorf("a server that is gone: got error %v", err)
	}
}

// A session that has a process of its own goes on with another; what the old one has asked
// the client is answered to the old one.
func TestSessionOfAChangedServerGoesOn(t *testing.T) {
	fleet, opener := newFleet(t)
	s := spec("echo")
	s.Revision = "1"
	fleet.Reconcile(of(s))
	session := opened(t, fleet, s)
	first := sessionPID(t, session)
	asks, err := session.Call(t.Context(), parse(t, `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"ask"}}`))
	if err != nil {
		t.Fatal(err)
	}
	<-asks.Ready() // it has asked
	s.Revision = "2"
	fleet.Reconcile(of(s))
	second := sessionPID(t, session)
	if second == first {
		t.Error("a new call went to the old process")
	}
	also, err := session.Call(t.Context(), parse(t, `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"ask"}}`))
	if err != nil {
		t.Fatal(err)
	}
	<-also.Ready()
	question := also.Take()[0]
	if string(question.ID()) == `"ask-1"` {
		t.Errorf("got %s, which the old process has asked by", question.Raw())
	}
	for id, n := range map[string]string{`"ask-1"`: "old", string(question.ID()): "new"} {
		if err := session.Send(t.Context(), parse(t, `{"jsonrpc":"2.0","id":`+id+`,"result":{"n":"`+n+`"}}`)); err != nil {
			t.Fatal(err)
		}
	}
	for n, call := range map[string]link.Call{"old": asks, "new": also} {
		if answer := await(t, call); !strings.Contains(string(answer.Result()), n) || !strings.Contains(string(answer.Result()), `\"id\":\"ask-1\"`) {
			t.Errorf("the call of the %s process: got %s", n, answer.Raw())
		}
	}
	waitFor(t, func() bool { return opener.Running() == 1 })
	if got := sessionPID(t, session); got != second {
		t.Errorf("got process %s, want %s still", got, second)
	}
	fleet.Reconcile(of(spec("other"))) // the server is gone, and nobody calls any more
	<-session.Done()
}

// Who was asked for input brings it to the process that waits for it.
func TestInputReachesTheProcessThatDrains(t *testing.T) {
	fleet, _ := newFleet(t)
	s := spec("echo")
	s.Revision = "1"
	fleet.Reconcile(of(s))
	server := fleet.Server(s, by("key:a"))
	asked := await(t, begin(t, server, `"name":"ask"`))
	state, _ := asked.Text(asked.InResult("requestState"))
	s.Revision = "2"
	fleet.Reconcile(of(s))
	if answer := await(t, begin(t, server, `"name":"again"`)); answer.Err() != nil { // by the new process
		t.Fatalf("got %s", answer.Raw())
	}
	answer := await(t, begin(t, server, `"name":"ask","requestState":"`+state+`","inputResponses":{"input-1":{"role":"assistant"}}`))
	if !strings.Contains(string(answer.Result()), `assistant`) {
		t.Errorf("got %s, want what the process that asked made of the input", answer.Raw())
	}
	waitFor(t, func() bool { fleet.mu.Lock(); defer fleet.mu.Unlock(); return len(fleet.before) == 0 })
}

// Subscriptions at what drains end at once, and well: they can be opened anew.
func TestSubscriptionsEndWithADrain(t *testing.T) {
	for _, name := range []string{"echo", "modern"} {
		t.Run(name, func(t *testing.T) {
			fleet, _ := newFleet(t)
			fleet.Reconcile(of(at(name, "1")))
			server := fleet.Server(at(name, "1"), by("key:a"))
			listen := request(t, "{}", "subscriptions/listen", `"notifications":{"toolsListChanged":true}`)
			call, err := server.Do(t.Context(), listen)
			if err != nil {
				t.Fatal(err)
			}
			<-call.Ready() // it is acknowledged
			fleet.Reconcile(of(at(name, "2")))
			answer := await(t, call)
			if kind, _ := answer.Text(answer.InResult("resultType")); kind != "complete" {
				t.Errorf("got %s, want a good end", answer.Raw())
			}
			if call, err = server.Do(t.Context(), listen); err != nil {
				t.Fatal(err)
			}
			<-call.Ready()
			call.Cancel("the test is over")
		})
	}
}

// Spare processes are replaced, be they held for the first caller or kept warm.
func TestSparesOfAChangedServerAreReplaced(t *testing.T) {
	fleet, opener := newFleet(t)
	warm, eager := at("modern", "1"), at("echo", "1")
	warm.Warm = 1
	fleet.Reconcile(of(warm, eager))
	if err := fleet.Warm(t.Context(), eager); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return fleet.hasSpare("modern") })
	opened := len(opener.Opened())
	warm.Revision, eager.Revision = "2", "2"
	fleet.Reconcile(of(warm, eager))
	waitFor(t, func() bool { return fleet.hasSpare("modern") && fleet.hasSpare("echo") && opener.Running() == 2 })
	if got := len(opener.Opened()); got != opened+2 {
		t.Errorf("got %d processes in place of two", got-opened)
	}
}

func (f *Fleet) hasSpare(server string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hasSpareLocked(server)
}

// A process of another revision than the one in force is not used: there was a reload
// between the question and the answer.
func TestStaleProcessIsNotUsed(t *testing.T) {
	fleet, opener := newFleet(t)
	fleet.Reconcile(of(at("modern", "2")))
	answers := []string{"1", "3", "2"}
	opener.Revision = func(string) string {
		now := answers[0]
		answers = answers[1:]
		return now
	}
	pid(t, fleet.Server(at("modern", "1"), by("key:a")))
	if got := len(opener.Opened()); got != 3 || len(answers) != 0 {
		t.Errorf("got %d processes, want the third one used", got)
	}
}
