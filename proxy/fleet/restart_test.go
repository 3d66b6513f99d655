package fleet

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/breaker"
	"mcpgateway/proxy/telemetry"
)

// restarted is a server's spec that is a crash loop after three ends.
func restarted(server string) *Spec {
	s := spec(server)
	s.Restart = policy.Restart{Backoff: 40 * time.Millisecond, MaxBackoff: 40 * time.Millisecond, Limit: 3, Reset: time.Hour}
	return s
}

// events collects what a fleet tells.
type events struct {
	mu  sync.Mutex
	all []Event
}

func watchEvents(f *Fleet) *events {
	e := &events{}
	f.Observe(func(one Event) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.all = append(e.all, one)
	})
	return e
}

func (e *events) count(kind EventKind, cause backend.Cause) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range e.all {
		if one.Kind == kind && (cause == "" || one.Cause == cause) {
			n++
		}
	}
	return n
}

// A server that ends again and again is started again at once, then later, and after the
// cap not at all, until an operator says so, or its configuration changes.
func TestCrashLoop(t *testing.T) {
	for server, tool := range map[string]string{"crash": "x", "modern": "crash"} {
		t.Run(server, func(t *testing.T) {
			fleet, opener := newFleet(t)
			told := watchEvents(fleet)
			s := restarted(server)
			crash := request(t, "{}", "tools/call", `"name":"`+tool+`"`)
			route := fleet.Server(s, by("key:a"))
			do(t, route, crash)
			do(t, route, crash)
			began := time.Now()
			do(t, route, crash)
			if waited := time.Since(began); waited < 20*time.Millisecond {
				t.Errorf("the second restart came after %s, want half of its wait at least", waited)
			}
			opened := len(opener.Opened())
			looping := func(s *Spec) {
				t.Helper()
				_, err := fleet.Server(s, by("key:a")).Do(t.Context(), crash)
				var loop *breaker.LoopError
				if !errors.As(err, &loop) || loop.Ends != 3 || !strings.Contains(err.Error(), "exited with status 3") {
					t.Fatalf("got %v, want a crash loop", err)
				}
			}
			looping(s)
			if got := len(opener.Opened()); got != opened {
				t.Error("it was started in a crash loop")
			}
			if rows := fleet.Rows(); len(rows) != 1 || !rows[0].Loop || rows[0].Instance != "identity:key:a" {
				t.Errorf("got %+v", rows)
			}
			waitFor(t, func() bool { return told.count(Ended, backend.CauseExit) == 3 })
			if started, again := told.count(Started, ""), told.count(Restarted, ""); started != 3 || again != 2 {
				t.Errorf("got %d starts and %d restarts told, want 3 and 2", started, again)
			}
			do(t, fleet.Server(s, by("key:b")), request(t, "{}", "tools/list", "")) // another's place
			fleet.Clear(server)
			do(t, route, crash)
			do(t, route, crash)
			do(t, route, crash)
			looping(s)
			s = copied(s)
			s.Revision = "2"
			do(t, fleet.Server(s, by("key:a")), crash)
		})
	}
}

// Starts that fail are a crash loop, too; the daemon's limits are not.
func TestCrashLoopOfStarts(t *testing.T) {
	fleet, opener := newFleet(t)
	told := watchEvents(fleet)
	route := fleet.Server(restarted("exit"), by("key:a"))
	list := request(t, "{}", "tools/list", "")
	for range 3 {
		if _, err := route.Do(t.Context(), list); err == nil {
			t.Fatal("got a call of a server that does not start")
		}
	}
	opened := len(opener.Opened())
	_, err := route.Do(t.Context(), list)
	var loop *breaker.LoopError
	if !errors.As(err, &loop) || !strings.Contains(err.Error(), "exited with status 7") || len(opener.Opened()) != opened {
		t.Errorf("got %v, want a crash loop", err)
	}
	if got := told.count(NotStarted, ""); got != 3 {
		t.Errorf("got %d failed starts told, want 3", got)
	}
}

// An instance that lived for long enough ends the row.
func TestLongLifeEndsTheRow(t *testing.T) {
	fleet, _ := newFleet(t)
	s := restarted("modern")
	s.Restart.Reset = 300 * time.Millisecond
	route := fleet.Server(s, by("key:a"))
	crash := request(t, "{}", "tools/call", `"name":"crash"`)
	do(t, route, crash)
	do(t, route, crash)
	pid(t, route)
	waitFor(t, func() bool { return len(fleet.Rows()) == 0 })
	for range 2 {
		do(t, route, crash)
	}
	waitFor(t, func() bool { rows := fleet.Rows(); return len(rows) == 1 && rows[0].Ends == 2 }) // not 4
}

// A replica that waits for its restart is passed over while another can serve.
func TestRestingReplicaIsPassedOver(t *testing.T) {
	fleet, _ := newFleet(t)
	s := restarted("modern")
	s.Instances, s.Replicas = policy.InstancesShared, 2
	s.Restart.Backoff, s.Restart.MaxBackoff = 4*time.Second, 4*time.Second
	route := fleet.Server(s, by("key:a"))
	crash := request(t, "{}", "tools/call", `"name":"crash"`)
	do(t, route, crash)
	do(t, route, crash) // its second end in a row
	began := time.Now()
	pid(t, route)
	if waited := time.Since(began); waited > 1500*time.Millisecond {
		t.Errorf("waited %s for a replica that rests", waited)
	}
}

// Spare instances that end at once are no busy loop, whether they were spoken to or not.
func TestSparesThatCrashAreNotStartedForEver(t *testing.T) {
	for server, instances := range map[string]policy.Instances{"brief": policy.InstancesShared, "exit": policy.InstancesPerSession} {
		t.Run(server, func(t *testing.T) {
			fleet, opener := newFleet(t)
			s := restarted(server)
			s.Warm, s.Instances = 1, instances
			fleet.Reconcile(of(s))
			waitFor(t, func() bool { rows := fleet.Rows(); return len(rows) == 1 && rows[0].Loop })
			if rows := fleet.Rows(); rows[0].Instance != "spare" || rows[0].Ends != 3 {
				t.Errorf("got %+v", rows)
			}
			starts := len(opener.Opened())
			fleet.Clear(server)
			waitFor(t, func() bool { return len(opener.Opened()) > starts })
		})
	}
}

// What an operator stops refuses calls, after those in flight, until it is started.
func TestStop(t *testing.T) {
	for _, server := range []string{"echo", "modern"} {
		t.Run(server, func(t *testing.T) {
			fleet, opener := newFleet(t)
			told := watchEvents(fleet)
			s := restarted(server)
			warm := copied(s)
			warm.Warm = 1
			fleet.Reconcile(of(warm, spec("echo.2")))
			waitFor(t, func() bool { return fleet.hasSpare(server) })
			route, other := fleet.Server(s, by("key:a")), fleet.Server(spec("echo.2"), by("key:a"))
			first := pid(t, route)
			pid(t, other)
			call, err := route.Do(t.Context(), request(t, "{}", "tools/call", `"name":"wait"`))
			if err != nil {
				t.Fatal(err)
			}
			fleet.Stop(server)
			var stopped *StoppedError
			if _, err := route.Do(t.Context(), request(t, "{}", "tools/list", "")); !errors.As(err, &stopped) || !strings.Contains(err.Error(), "mcp-gateway servers start "+server) || !fleet.Stopped(server) {
				t.Fatalf("got %v, want that it was stopped", err)
			}
			waitFor(t, func() bool { return opener.Running() == 2 }) // the one with a call, and another server's
			call.Cancel("the test is over")
			waitFor(t, func() bool { return opener.Running() == 1 })
			fleet.Reconcile(of(warm, spec("echo.2"))) // which starts nothing
			if _, err := route.Do(t.Context(), request(t, "{}", "tools/list", "")); !errors.As(err, &stopped) {
				t.Fatalf("after a reload: got %v, want that it was stopped", err)
			}
			pid(t, other)
			fleet.Start(server)
			if again := pid(t, route); again == first {
				t.Error("got the process that was stopped")
			}
			waitFor(t, func() bool { return fleet.hasSpare(server) })
			if got := told.count(Ended, backend.CauseStopped); got < 2 || told.count(Ended, backend.CauseExit) > 0 {
				t.Errorf("got %d ends told as stopped", got)
			}
			if rows := fleet.Rows(); len(rows) != 0 {
				t.Errorf("got %+v, want that it is no crash", rows)
			}
		})
	}
}

// steps collects the steps of a call.
type steps struct {
	mu    sync.Mutex
	began []string
	ended []error
}

func (s *steps) Step(_ context.Context, name string, attributes ...string) func(error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.began = append(s.began, strings.Join(append([]string{name}, attributes...), " "))
	return func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ended = append(s.ended, err)
	}
}

// The wait for an instance is a step of the call, and those who wait are counted.
func TestStartIsAStep(t *testing.T) {
	fleet, _ := newFleet(t)
	seen := &steps{}
	ctx, cancel := context.WithCancel(telemetry.WithSteps(t.Context(), seen))
	list := request(t, "{}", "tools/list", "")
	for range 2 { // the second one waits for nothing
		if _, err := fleet.Server(spec("modern"), by("key:a")).Do(ctx, list); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"start sandbox server modern reason call"}; !slices.Equal(seen.began, want) || len(seen.ended) != 1 || seen.ended[0] != nil {
		t.Errorf("got %q, ended %v, want %q", seen.began, seen.ended, want)
	}
	var waiting sync.WaitGroup
	waiting.Go(func() { _, _ = fleet.Server(spec("silent"), by("key:a")).Do(ctx, list) })
	waitFor(t, func() bool { return fleet.Waiting()["silent"] == 1 })
	cancel()
	waiting.Wait()
	if len(fleet.Waiting()) != 0 || len(seen.ended) != 2 || !errors.Is(seen.ended[1], context.Canceled) {
		t.Errorf("got %v waiting, ended %v", fleet.Waiting(), seen.ended)
	}
}
