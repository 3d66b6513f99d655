package breaker

import (
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mcpgateway/policy"
)

var errBroke = errors.New("it broke")

func rules() policy.Restart {
	return policy.Restart{Backoff: 200 * time.Millisecond, MaxBackoff: time.Minute, Limit: 10, Reset: time.Minute}
}

func newRestarts(t *testing.T) (*Restarts, *strings.Builder) {
	t.Helper()
	var log strings.Builder
	return NewRestarts(slog.New(slog.NewTextHandler(&log, nil))), &log
}

// The first restart is at once; then the wait is doubled, with jitter, until it is a loop.
func TestBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, log := newRestarts(t)
		r.Failed(at, rules(), "1", errBroke)
		if wait, err := r.Wait(at, rules(), "1"); wait != 0 || err != nil {
			t.Errorf("got %s, %v after one end, want none", wait, err)
		}
		longest := 200 * time.Millisecond
		differ := map[time.Duration]bool{}
		for ends := 2; ends < 10; ends++ {
			r.Failed(at, rules(), "1", errBroke)
			wait, err := r.Wait(at, rules(), "1")
			if open, ok := errors.AsType[*OpenError](err); ok {
				wait = time.Until(open.Until)
				if wait <= maxPause || open.Cause != "it broke" {
					t.Errorf("after %d ends: refused for %s because %s", ends, wait, open.Cause)
				}
			} else if wait > maxPause || err != nil {
				t.Errorf("after %d ends: got %s, %v", ends, wait, err)
			}
			if wait < longest/2 || wait > longest {
				t.Errorf("after %d ends: got %s, want %s to %s", ends, wait, longest/2, longest)
			}
			differ[longest-wait] = true
			longest = min(2*longest, time.Minute)
		}
		if len(differ) < 3 {
			t.Error("got no jitter")
		}
		if strings.Contains(log.String(), "crash loop") {
			t.Errorf("got %s", log)
		}
		r.Failed(at, rules(), "1", errBroke)
		_, err := r.Wait(at, rules(), "1")
		var loop *LoopError
		if !errors.As(err, &loop) || loop.Ends != 10 || !strings.Contains(err.Error(), "10 times in a row, the last time because it broke") || !strings.Contains(err.Error(), "mcp-gateway servers start files") {
			t.Errorf("got %v, want a crash loop", err)
		}
		if got := r.Rows(); len(got) != 1 || !got[0].Loop || got[0].Ends != 10 || got[0].Cause != "it broke" {
			t.Errorf("got %+v", got)
		}
		<-time.After(24 * time.Hour)
		if _, err := r.Wait(at, rules(), "1"); !errors.As(err, &loop) {
			t.Errorf("a day later: got %v, want a crash loop still", err)
		}
		if strings.Count(log.String(), "crash loop") != 1 {
			t.Errorf("got %s", log)
		}
	})
}

// What ends a row, and what does not.
func TestRowEnds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		ends     int
		revision string
		do       func(r *Restarts)
		by       policy.Restart
		stays    bool
	}{
		{"nothing", 10, "1", func(*Restarts) {}, rules(), true},
		{"an operator", 10, "1", func(r *Restarts) { r.Clear("files") }, rules(), false},
		{"an operator, of another server", 10, "1", func(r *Restarts) { r.Clear("other") }, rules(), true},
		{"another revision", 10, "2", func(*Restarts) {}, rules(), false},
		{"a long life", 9, "1", func(r *Restarts) { r.Lived(at) }, rules(), false},
		{"a long life of another instance", 10, "1", func(r *Restarts) { r.Lived(at) }, rules(), true},
		{"a higher limit", 10, "1", func(*Restarts) {}, policy.Restart{Backoff: 1, MaxBackoff: 1, Limit: 11, Reset: 1}, false},
		{"no rules", 10, "1", func(*Restarts) {}, policy.Restart{}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r, _ := newRestarts(t)
			for range test.ends {
				r.Failed(at, rules(), "1", errBroke)
			}
			if got := r.After(at); got != test.ends {
				t.Errorf("got %d ends, want %d", got, test.ends)
			}
			test.do(r)
			var loop *LoopError
			if _, err := r.Wait(at, test.by, test.revision); errors.As(err, &loop) != test.stays {
				t.Errorf("got %v, want a loop: %v", err, test.stays)
			}
		})
	}
}

// An end under another configuration begins another row.
func TestRowOfAnotherRevision(t *testing.T) {
	t.Parallel()
	r, _ := newRestarts(t)
	for range 5 {
		r.Failed(at, rules(), "1", errBroke)
	}
	r.Failed(at, rules(), "2", errBroke)
	if got := r.After(at); got != 1 {
		t.Errorf("got %d ends, want 1", got)
	}
}

// Many callers don't take up memory for ever, and crash loops stay.
func TestRowsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, _ := newRestarts(t)
		for range 10 {
			r.Failed(Place{"files", "looping"}, rules(), "", errBroke)
		}
		for i := range maxPlaces + 10 {
			r.Failed(Place{"files", strconv.Itoa(i)}, rules(), "", errBroke)
			<-time.After(time.Millisecond)
		}
		rows := r.Rows()
		if len(rows) > maxPlaces || len(rows) == 0 {
			t.Errorf("got %d rows", len(rows))
		}
		if r.After(Place{"files", "looping"}) != 10 {
			t.Error("the crash loop was forgotten")
		}
	})
}

// An operator closes the breakers of one server, whoever is on the way.
func TestClear(t *testing.T) {
	t.Parallel()
	s, _ := newSet(t)
	by := numbers()
	elsewhere := Place{"other", "replica:0"}
	fail(t, s, by, 2)
	under := enter(t, s, by)
	fail(t, s, by, 1)
	for range 3 {
		s.Failed(elsewhere, by, errBroke)
	}
	open(t, s, by)
	s.Clear("files")
	if err := s.Refusal(at); err != nil {
		t.Errorf("got %v after it was closed", err)
	}
	if s.Refusal(elsewhere) == nil {
		t.Error("another server's breaker was closed, too")
	}
	under.Fail("it broke") // of the time before
	fail(t, s, by, 2)
	if err := s.Refusal(at); err != nil {
		t.Errorf("got %v, want that what was before counts no more", err)
	}
	fail(t, s, by, 1)
	open(t, s, by)
}
