package traffic

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// server answers after a millisecond, but for the call that stalls.
type server struct {
	calls, stalls int
	stall         time.Duration
	fails         bool
}

func (s *server) Call() error {
	s.calls++
	wait := time.Millisecond
	if s.calls == s.stalls {
		wait = s.stall
		if s.fails {
			return errors.New("stalled")
		}
	}
	<-time.After(wait)
	return nil
}

func (s *server) Close() error { return nil }

// A second's stall is one slow call to a closed loop, but at a fixed rate it delays a
// tenth of all that were due in ten seconds.
func TestStall(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		rate   float64
		calls  uint64
		p99    time.Duration // at least
		within time.Duration
	}{
		{"fixed rate", 100, 1000, 800 * time.Millisecond, time.Second},
		{"closed loop", 0, 9001, time.Millisecond, 2 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &server{stalls: 10, stall: time.Second}
				result, err := Run(t.Context(), []Session{s}, Plan{Duration: 10 * time.Second, Rate: test.rate})
				if err != nil {
					t.Fatal(err)
				}
				if got := result.Latency.Count(); got != test.calls {
					t.Errorf("got %d calls, want %d", got, test.calls)
				}
				if got := result.Latency.Percentile(99); got < test.p99 || got > test.within {
					t.Errorf("got p99 %v, want %v to %v", got, test.p99, test.within)
				}
				if got := result.Latency.Percentile(100); got != time.Second {
					t.Errorf("got %v at most, want the stall", got)
				}
			})
		})
	}
}

// All sessions together keep to the rate, and not all call at once.
func TestRateOfMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sessions []Session
		for range 7 {
			sessions = append(sessions, &server{})
		}
		result, err := Run(t.Context(), sessions, Plan{Duration: 10 * time.Second, Rate: 70})
		if err != nil {
			t.Fatal(err)
		}
		if got := result.PerSecond(); got < 69.9 || got > 70.1 {
			t.Errorf("got %v calls a second, want 70", got)
		}
		if got := result.Latency.Percentile(100); got != time.Millisecond {
			t.Errorf("got %v at most, want that nobody waits for another", got)
		}
	})
}

func TestFailureEndsAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		sessions := []Session{&server{stalls: 3, fails: true}, &server{}}
		if _, err := Run(t.Context(), sessions, Plan{Duration: time.Hour}); err == nil || err.Error() != "stalled" {
			t.Errorf("got %v, want that of the session", err)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("it took %v", took)
		}
	})
}
