package breaker

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

var at = Place{"files", "replica:0"}

func numbers() *policy.Breaker {
	return &policy.Breaker{Failures: 3, Window: time.Minute, OpenFor: 30 * time.Second, HalfOpen: 2}
}

func newSet(t *testing.T) (*Set, *strings.Builder) {
	t.Helper()
	var log strings.Builder
	return New(slog.New(slog.NewTextHandler(&log, nil))), &log
}

func enter(t *testing.T, s *Set, by *policy.Breaker) *Pass {
	t.Helper()
	pass, err := s.Enter(at, by)
	if err != nil {
		t.Fatal(err)
	}
	return pass
}

func fail(t *testing.T, s *Set, by *policy.Breaker, times int) {
	t.Helper()
	for range times {
		enter(t, s, by).Fail("it broke")
	}
}

// open wants the breaker to refuse.
func open(t *testing.T, s *Set, by *policy.Breaker) *OpenError {
	t.Helper()
	_, err := s.Enter(at, by)
	var open *OpenError
	if !errors.As(err, &open) || open.Server != "files" || !strings.Contains(err.Error(), "it broke") {
		t.Fatalf("got %v, want a breaker that is open", err)
	}
	if s.Refusal(at) == nil {
		t.Error("got no refusal ahead")
	}
	return open
}

func succeed(p *Pass) { p.end(nil, "") }

func TestBreakerOpensAndCloses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, log := newSet(t)
		by := numbers()
		fail(t, s, by, 2)
		enter(t, s, by).Drop() // says nothing
		fail(t, s, by, 1)
		if until := time.Until(open(t, s, by).Until); until != 30*time.Second {
			t.Errorf("got open for %s", until)
		}
		if got := s.States(); len(got) != 1 || got[0].State != "open" || got[0].Failures != 3 || time.Until(got[0].Until) != 30*time.Second {
			t.Errorf("got %+v", got)
		}
		if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, `level=WARN msg="circuit breaker opened" server=files instance=replica:0 from=closed to=open failures=3`) {
			t.Errorf("got %s", text)
		}
		<-time.After(29 * time.Second)
		open(t, s, by)
		<-time.After(time.Second + time.Millisecond)
		if err := s.Refusal(at); err != nil {
			t.Errorf("got %v after its time", err)
		}
		first, second := enter(t, s, by), enter(t, s, by)
		open(t, s, by) // two are trying
		if got := s.States(); got[0].State != "half-open" || !got[0].Until.IsZero() {
			t.Errorf("got %+v", got)
		}
		first.Drop()
		third := enter(t, s, by) // there is room again
		succeed(second)
		succeed(third)
		if got := s.States(); len(got) != 0 {
			t.Errorf("got %+v, want that it is forgotten", got)
		}
		if got := strings.Count(log.String(), "\n"); got != 3 {
			t.Errorf("got %d lines in the log, want 3: %s", got, log)
		}
		fail(t, s, by, 2)
		enter(t, s, by).Drop()
	})
}

func TestFailedTrialOpensAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSet(t)
		by := numbers()
		fail(t, s, by, 3)
		for range 3 {
			<-time.After(30*time.Second + time.Millisecond)
			fail(t, s, by, 1)
			if until := time.Until(open(t, s, by).Until); until != 30*time.Second {
				t.Errorf("got open for %s", until)
			}
		}
	})
}

func TestWhatDoesNotOpen(t *testing.T) {
	t.Parallel()
	tests := map[string]func(t *testing.T, s *Set, by *policy.Breaker){
		"successes between": func(t *testing.T, s *Set, by *policy.Breaker) {
			for range 50 {
				fail(t, s, by, 2)
				succeed(enter(t, s, by))
			}
		},
		"failures that are long ago": func(t *testing.T, s *Set, by *policy.Breaker) {
			for range 10 {
				fail(t, s, by, 2)
				<-time.After(2 * time.Minute)
			}
		},
		"cancelled requests": func(t *testing.T, s *Set, by *policy.Breaker) {
			for range 50 {
				enter(t, s, by).Drop()
			}
		},
		"other places": func(t *testing.T, s *Set, by *policy.Breaker) {
			for i := range 50 {
				s.Failed(Place{"files", fmt.Sprint("identity:", i)}, by, errors.New("x"))
			}
		},
		"one pass that fails often": func(t *testing.T, s *Set, by *policy.Breaker) {
			pass := enter(t, s, by)
			for range 50 {
				pass.Fail("x")
			}
		},
		"no breaker": func(t *testing.T, s *Set, _ *policy.Breaker) {
			for range 50 {
				s.Failed(at, nil, errors.New("x"))
			}
		},
		"new numbers": func(t *testing.T, s *Set, by *policy.Breaker) {
			fail(t, s, by, 3)
			more := *by
			more.Failures = 100
			fail(t, s, &more, 5)
		},
	}
	for name, do := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, _ := newSet(t)
				do(t, s, numbers())
				if err := s.Refusal(at); err != nil {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

// What an answer says of the instance.
func TestAnswers(t *testing.T) {
	t.Parallel()
	internal := mcp.NewError([]byte("1"), mcp.CodeInternal, "secret of another caller", nil)
	tests := []struct {
		name     string
		answer   mcp.Message
		internal bool // errors count
		ended    bool // the end was counted
		want     bool // it is a failure
	}{
		{name: "result", answer: mcp.NewResult([]byte("1"), []byte("{}"))},
		{name: "tool error", answer: mcp.NewResult([]byte("1"), []byte(`{"isError":true,"content":[]}`)), internal: true},
		{name: "bad parameters", answer: mcp.NewError([]byte("1"), mcp.CodeInvalidParams, "no", nil), internal: true},
		{name: "time-out", answer: mcp.NewFailure([]byte("1"), mcp.FailureLate, "late"), want: true},
		{name: "end", answer: mcp.NewFailure([]byte("1"), mcp.FailureEnded, "ended"), want: true},
		{name: "the same end", answer: mcp.NewFailure([]byte("1"), mcp.FailureEnded, "ended"), ended: true},
		{name: "cancelled", answer: mcp.NewFailure([]byte("1"), mcp.FailureCancelled, "enough"), internal: true},
		{name: "internal error", answer: internal},
		{name: "internal error that counts", answer: internal, internal: true, want: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, log := newSet(t)
			by := numbers()
			by.Failures, by.InternalErrors = 1, test.internal
			var ended atomic.Bool
			ended.Store(test.ended)
			call := enter(t, s, by).Watch(link.Answered(test.answer), &ended)
			if got := call.Take(); len(got) != 1 || string(got[0].Raw()) != string(test.answer.Raw()) {
				t.Errorf("got %v, want the answer as it is", got)
			}
			err := s.Refusal(at)
			if (err != nil) != test.want {
				t.Errorf("got %v, want failure: %v", err, test.want)
			}
			if err != nil && strings.Contains(err.Error()+log.String(), "secret") {
				t.Errorf("got %v and %s, which tells one caller what another was told", err, log)
			}
		})
	}
}

// Who does not wait for the answer says nothing of the instance.
func TestCancelledCallsDoNotCount(t *testing.T) {
	t.Parallel()
	s, _ := newSet(t)
	by := numbers()
	by.Failures = 1
	for _, give := range []func(link.Call){func(c link.Call) { c.Cancel("enough") }, link.Call.Detach} {
		call := enter(t, s, by).Watch(link.Answered(mcp.NewFailure([]byte("1"), mcp.FailureEnded, "ended")), new(atomic.Bool))
		give(call)
		call.Take()
	}
	if err := s.Refusal(at); err != nil || len(s.States()) != 0 {
		t.Errorf("got %v, %+v", err, s.States())
	}
}

func TestPlacesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSet(t)
		by := numbers()
		by.Failures = 1
		failAll := func(n int) {
			for i := range n {
				s.Failed(Place{"files", fmt.Sprint("identity:", i)}, by, errors.New("x"))
			}
		}
		failAll(2 * maxPlaces)
		if got := len(s.States()); got != maxPlaces {
			t.Errorf("got %d open breakers, want %d", got, maxPlaces)
		}
		by = numbers() // closes what is used, and leaves a failure behind
		failAll(maxPlaces)
		<-time.After(sweepEvery)
		s.Failed(at, by, errors.New("x"))
		if got := len(s.States()); got != 1 {
			t.Errorf("got %d breakers, want that those without requests made room", got)
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	s := New(slog.New(slog.DiscardHandler))
	by := &policy.Breaker{Failures: 2, Window: time.Minute, OpenFor: time.Nanosecond, HalfOpen: 1}
	var running sync.WaitGroup
	for i := range 8 {
		running.Go(func() {
			for n := range 2000 {
				_ = s.Refusal(at)
				if pass, err := s.Enter(at, by); err == nil {
					[]func(){func() { pass.Fail("x") }, pass.Drop, func() { succeed(pass) }}[(n+i)%3]()
				}
				s.States()
			}
		})
	}
	running.Wait()
	for i := 0; len(s.States()) > 0; i++ {
		if pass, err := s.Enter(at, by); err == nil {
			succeed(pass)
		}
		if i > 1_000_000 {
			t.Fatalf("got %+v for ever", s.States())
		}
	}
}

func BenchmarkEnter(b *testing.B) {
	s := New(slog.New(slog.DiscardHandler))
	by := numbers()
	b.ReportAllocs()
	for b.Loop() {
		pass, err := s.Enter(at, by)
		if err != nil {
			b.Fatal(err)
		}
		succeed(pass)
	}
}
