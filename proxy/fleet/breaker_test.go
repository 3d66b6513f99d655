package fleet

import (
	"errors"
	"strings"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/breaker"
	"mcpgateway/proxy/link"
	"mcpgateway/runtime/control"
)

// watched is a server's spec with a breaker that two failures open for long enough.
func watched(server string) *Spec {
	s := spec(server)
	s.Breaker = &policy.Breaker{Failures: 2, Window: time.Minute, OpenFor: time.Minute, HalfOpen: 1}
	return s
}

// refused wants a breaker to refuse a request at once.
func refused(t *testing.T, err error, cause string) {
	t.Helper()
	var open *breaker.OpenError
	if !errors.As(err, &open) || !strings.Contains(open.Cause, cause) || time.Until(open.Until) <= 0 {
		t.Fatalf("got %v, want a breaker that is open because of %q", err, cause)
	}
}

// A crash loop counts over the restarts, in either era, and for one caller alone.
func TestBreakerOfAServerThatCrashes(t *testing.T) {
	for server, tool := range map[string]string{"crash": "x", "modern": "crash"} {
		t.Run(server, func(t *testing.T) {
			fleet, opener := newFleet(t)
			route := fleet.Server(watched(server), by("key:a"))
			crash := request(t, "{}", "tools/call", `"name":"`+tool+`"`)
			for range 2 {
				do(t, route, crash)
			}
			started := len(opener.Opened())
			_, err := route.Do(t.Context(), crash)
			refused(t, err, "exited with status 3")
			if got := len(opener.Opened()); got != started {
				t.Errorf("got %d instances started while the breaker is open", got-started)
			}
			if got := fleet.States(); len(got) != 1 || got[0].State.State != "open" || got[0].Instance != "identity:key:a" || got[0].Failures != 2 {
				t.Errorf("got %+v", got)
			}
			do(t, fleet.Server(watched(server), by("key:b")), request(t, "{}", "tools/list", ""))
			// Without a breaker it is as before.
			do(t, fleet.Server(spec(server), by("key:a")), request(t, "{}", "tools/list", ""))
		})
	}
}

// However many requests end with an instance, it has failed once.
func TestOneCrashIsOneFailure(t *testing.T) {
	fleet, _ := newFleet(t)
	route := fleet.Server(watched("modern"), by("key:a"))
	var waiting []link.Call
	for range 5 {
		call, err := route.Do(t.Context(), request(t, "{}", "tools/call", `"name":"wait"`))
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, call)
	}
	do(t, route, request(t, "{}", "tools/call", `"name":"crash"`))
	for _, call := range waiting {
		if answer, err := link.Await(t.Context(), call); err != nil || answer.Failure() != "ended" {
			t.Fatalf("got %s, %v", answer.Raw(), err)
		}
	}
	pid(t, route)
}

func TestBreakerOfAServerThatHangs(t *testing.T) {
	fleet, _ := newFleet(t)
	s := watched("modern")
	s.Tools = map[string]policy.Tool{"wait": {Timeout: 20 * time.Millisecond, MaxTimeout: 20 * time.Millisecond}} // and time enough to start
	route := fleet.Server(s, by("key:a"))
	hang := request(t, "{}", "tools/call", `"name":"wait"`)
	for range 2 {
		do(t, route, hang)
	}
	_, err := route.Do(t.Context(), hang)
	refused(t, err, "did not answer")
}

// What starts fail with is counted once for each start.
func TestBreakerOfStarts(t *testing.T) {
	fleet, opener := newFleet(t)
	route := fleet.Server(watched("exit"), by("key:a"))
	for range 2 {
		if _, err := route.Do(t.Context(), request(t, "{}", "tools/list", "")); err == nil {
			t.Fatal("got a call of a server that does not start")
		}
	}
	_, err := route.Do(t.Context(), request(t, "{}", "tools/list", ""))
	refused(t, err, "exited with status 7")

	opener.Fail = map[string]error{"full": &control.Error{Code: control.CodeLimit, Text: "too many"}}
	route = fleet.Server(watched("full"), by("key:a"))
	for range 5 {
		_, err := route.Do(t.Context(), request(t, "{}", "tools/list", ""))
		if _, ok := errors.AsType[*control.Error](err); !ok {
			t.Fatalf("got %v, want the daemon's limit, which is no failure of the server", err)
		}
	}
}

// A replica that fails is left alone while another serves.
func TestAnotherReplicaServes(t *testing.T) {
	for _, strategy := range []policy.Strategy{policy.StrategyLeastBusy, policy.StrategyRoundRobin, policy.StrategyConsistentHash} {
		t.Run(string(strategy), func(t *testing.T) {
			fleet, _ := newFleet(t)
			s := watched("modern")
			s.Instances, s.Replicas, s.Strategy = policy.InstancesShared, 2, strategy
			s.Breaker.Failures = 1
			route := fleet.Server(s, by("key:a"))
			crash := request(t, "{}", "tools/call", `"name":"crash"`)
			do(t, route, crash)
			for range 4 {
				pid(t, route)
			}
			states := fleet.States()
			if len(states) != 2 || states[0].Sandbox == states[1].Sandbox {
				t.Fatalf("got %+v, want one that is open and one that serves", states)
			}
			do(t, route, crash)
			_, err := route.Do(t.Context(), crash) // there is none left
			refused(t, err, "exited with status 3")
		})
	}
}

// Sessions that have an instance of their own share their caller's breaker, and outlive it
// when it opens.
func TestBreakerOfSessions(t *testing.T) {
	fleet, _ := newFleet(t)
	first := opened(t, fleet, watched("crash"))
	for range 2 {
		if answer := ask(t, first, "tools/call", `"name":"x"`); answer.Failure() != "ended" {
			t.Fatalf("got %s", answer.Raw())
		}
	}
	_, err := first.Call(t.Context(), parse(t, `{"jsonrpc":"2.0","id":3,"method":"ping"}`))
	refused(t, err, "exited with status 3")
	if first.Err() != nil {
		t.Errorf("got the session's end: %v", first.Err())
	}
	initialize := parse(t, hello)
	_, _, _, err = fleet.Open(t.Context(), watched("crash"), "key:a", initialize)
	refused(t, err, "exited with status 3")
	if _, _, _, err := fleet.Open(t.Context(), watched("crash"), "key:b", initialize); err != nil {
		t.Errorf("got %v for another caller", err)
	}
}

// After its time the server is tried again, and serves if it has recovered.
func TestBreakerCloses(t *testing.T) {
	fleet, opener := newFleet(t)
	s := watched("modern")
	s.Breaker = &policy.Breaker{Failures: 1, Window: time.Minute, OpenFor: 50 * time.Millisecond, HalfOpen: 1}
	route := fleet.Server(s, by("key:a"))
	do(t, route, request(t, "{}", "tools/call", `"name":"crash"`))
	waitFor(t, func() bool { return fleet.breakers.Refusal(placeOfCaller("modern", "key:a")) == nil })
	pid(t, route)
	if got := fleet.States(); len(got) != 1 || got[0].State.State != breaker.Closed || got[0].Sandbox != "modern-2" || opener.Running() != 1 {
		t.Errorf("got %+v", got)
	}
}
