package backend

import (
	"strings"
	"testing"
	"time"

	"mcpgateway/policy"
)

// Progress gives a server its time anew, but no more than the cap. Who does not
// tell of progress has the time-out alone.
func TestProgressExtendsTheDeadline(t *testing.T) {
	const token = `,"_meta":{"progressToken":1}`
	for _, test := range []struct {
		name, meta   string
		timeout, cap time.Duration
		want         string
	}{
		{"with progress", token, time.Second, time.Minute, `"done"`},
		{"over the cap", token, time.Second, 1200 * time.Millisecond, "within 1.2s"},
		{"without a token", "", time.Second, time.Minute, "within 1s"},
		{"without a cap", token, time.Second, 0, "within 1s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			pool, _ := newPool(t)
			s := spec("echo")
			s.Timeout, s.MaxTimeout = test.timeout, test.cap
			all := call(t, start(t, pool, s), `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"slow","arguments":{"n":15}`+test.meta+`}}`)
			if got := string(all[len(all)-1].Raw()); !strings.Contains(got, test.want) {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// A call whose server waits for somebody outside has the time that this takes.
func TestPausedCallDoesNotExpire(t *testing.T) {
	pool, _ := newPool(t)
	s := spec("echo")
	s.Timeout = 200 * time.Millisecond
	conn := start(t, pool, s)
	paused, err := conn.Ask(t.Context(), parse(t, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait","_meta":{"progressToken":"p"}}}`), Wants{})
	if err != nil {
		t.Fatal(err)
	}
	paused.Pause(time.Minute)
	// A server that tells of progress meanwhile loses nothing by it.
	conn.dispatch([]byte(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":1}}`))
	<-paused.Ready()
	paused.Take()
	for range 2 {
		other, err := conn.Ask(t.Context(), parse(t, `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"wait"}}`), Wants{})
		if err != nil {
			t.Fatal(err)
		}
		wait(t, other) // for its time-out
	}
	select {
	case <-paused.Ready():
		t.Fatalf("got %s", paused.Take()[0].Raw())
	default:
	}
	paused.Resume()
	if got := wait(t, paused); !strings.Contains(string(got[0].Raw()), "within 200ms") {
		t.Errorf("got %s", got[0].Raw())
	}
}

// A tool's own time holds for its calls, in every mode of a connection, and for
// nothing else.
func TestToolsHaveTimesOfTheirOwn(t *testing.T) {
	const (
		short, long = time.Second, time.Minute // also for a process that starts
		token       = `,"_meta":{"progressToken":1}`
	)
	for _, test := range []struct {
		name, call string
		timeout    time.Duration // of the server
		tool       policy.Tool   // slow
		want       string
	}{
		{"shorter", `"name":"slow","arguments":{"n":600}`, long, policy.Tool{Timeout: short, MaxTimeout: short}, "within 1s"},
		{"shorter, in other letters", `"name":"\u0073low","arguments":{"n":600}`, long, policy.Tool{Timeout: short, MaxTimeout: short}, "within 1s"},
		{"longer", `"name":"slow","arguments":{"n":15}`, short, policy.Tool{Timeout: long, MaxTimeout: long}, `"done"`},
		{"with progress", `"name":"slow","arguments":{"n":15}` + token, long, policy.Tool{Timeout: short, MaxTimeout: long}, `"done"`},
		{"over its cap", `"name":"slow","arguments":{"n":600}` + token, long, policy.Tool{Timeout: short, MaxTimeout: 1500 * time.Millisecond}, "within 1.5s"},
		{"another tool", `"name":"wait"`, short, policy.Tool{Timeout: long, MaxTimeout: long}, "within 1s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			request := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + test.call + `}}`
			s := spec("echo")
			s.Timeout, s.MaxTimeout, s.Tools = test.timeout, test.timeout, map[string]policy.Tool{"slow": test.tool}
			pool, _ := newPool(t)
			ofSession := start(t, pool, s)
			ofGateway, err := pool.StartInitialized(t.Context(), s, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, conn := range []*Conn{ofSession, ofGateway} {
				all := call(t, conn, request)
				if got := string(all[len(all)-1].Raw()); !strings.Contains(got, test.want) {
					t.Errorf("got %s, want %s", got, test.want)
				}
			}
		})
	}
}

// All calls have one timer: each ends at its own time, whichever began first and whatever
// has been answered meanwhile.
func TestCallsEndAtTheirOwnTimes(t *testing.T) {
	pool, _ := newPool(t)
	s := spec("echo")
	s.Tools = map[string]policy.Tool{"wait": {Timeout: 300 * time.Millisecond}, "again": {Timeout: 10 * time.Millisecond}}
	conn := start(t, pool, s)
	ask := func(id, tool string) *Call {
		c, err := conn.Ask(t.Context(), parse(t, `{"jsonrpc":"2.0","id":`+id+`,"method":"tools/call","params":{"name":"`+tool+`"}}`), Wants{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	long := ask("1", "nobody knows this one, who waits")
	long.Pause(time.Hour)
	first := ask("2", "wait")
	wait(t, ask("3", "again")) // its time passes when it is answered, or not
	second := ask("4", "wait")
	for i, c := range []*Call{first, second} {
		began := c.started
		if got := string(wait(t, c)[0].Raw()); !strings.Contains(got, "within 300ms") {
			t.Errorf("call %d: got %s", i, got)
		}
		if took := time.Since(began); took < 300*time.Millisecond {
			t.Errorf("call %d: ended after %s", i, took)
		}
	}
	conn.mu.Lock()
	defer conn.mu.Unlock()
	if len(conn.calls) == 1 && !conn.alarm.at.Equal(long.deadline) {
		t.Errorf("got the alarm set for %s, want the deadline of the call that is left, %s", conn.alarm.at, long.deadline)
	}
}
