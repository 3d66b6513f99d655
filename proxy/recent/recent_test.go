package recent

import (
	"context"
	"strings"
	"testing"
	"time"

	"mcpgateway/proxy/telemetry"
)

// clock is a time that the test sets.
type clock struct{ now time.Time }

func newClock() *clock { return &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }

// made has calls begin and end at once.
func made(c *Calls, n int, call telemetry.Call) {
	if call.Transport == "" {
		call.Transport = "http"
	}
	for range n {
		one := call
		c.End(c.Begin(context.Background(), &one), &one)
	}
}

func TestCounts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		call telemetry.Call
		want Counts
	}{
		{"a good one", telemetry.Call{Status: "ok"}, Counts{Calls: 1}},
		{"one whose server ended", telemetry.Call{Status: "ended"}, Counts{Calls: 1, Errors: 1}},
		{"one whose client is wrong", telemetry.Call{Status: "error -32602"}, Counts{Calls: 1}},
		{"one whose tool failed", telemetry.Call{Status: "tool-error"}, Counts{Calls: 1, ToolErrors: 1}},
		{"one that may not be", telemetry.Call{Status: "forbidden", Refused: true}, Counts{Calls: 1, Refused: 1}},
		{"one of a server that nobody knows", telemetry.Call{Server: "other", Status: "ok"}, Counts{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			at := newClock()
			c := New(func() time.Time { return at.now })
			c.Keep([]string{"a"})
			if test.call.Server == "" {
				test.call.Server = "a"
			}
			made(c, 1, test.call)
			if got := c.Server("a").Counts; got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			if got := c.All().Counts; got != test.want {
				t.Errorf("all: got %+v, want %+v", got, test.want)
			}
		})
	}
}

// What the gateway asks on its own is nobody's call.
func TestOwnCallsAreNotCounted(t *testing.T) {
	t.Parallel()
	c := New(time.Now)
	c.Keep([]string{"a"})
	call := telemetry.Call{Server: "a", Status: "ok"}
	c.End(c.Begin(context.Background(), &call), &call)
	if got := c.Server("a"); got.Calls != 0 {
		t.Errorf("got %d calls, want none", got.Calls)
	}
}

func TestWindow(t *testing.T) {
	t.Parallel()
	at := newClock()
	c := New(func() time.Time { return at.now })
	c.Keep([]string{"a"})
	made(c, 30, telemetry.Call{Server: "a", Status: "ok", Duration: time.Millisecond})
	at.now = at.now.Add(Step)
	made(c, 10, telemetry.Call{Server: "a", Status: "timeout", Reason: strings.Repeat("x", 1000), Duration: time.Second})
	got := c.Server("a")
	if got.Calls != 40 || got.Errors != 10 || got.PerSecond != 3 {
		t.Errorf("got %+v, want 40 calls, 10 errors, 3 a second", got)
	}
	if got.P50 < 700*time.Microsecond || got.P50 > 1400*time.Microsecond || got.P95 < 700*time.Millisecond || got.P95 > 1400*time.Millisecond {
		t.Errorf("got p50 %s and p95 %s, want about 1ms and 1s", got.P50, got.P95)
	}
	if len(got.Failure.Reason) != maxReason || got.Failure.Status != "timeout" {
		t.Errorf("got failure %+v, want it cut", got.Failure)
	}
	at.now = at.now.Add(Window - Step)
	if got := c.Server("a"); got.Calls != 10 || got.PerSecond != 0 {
		t.Errorf("after the window of the first: got %+v, want 10 calls", got)
	}
	at.now = at.now.Add(Step)
	if got := c.Server("a"); got.Calls != 0 || got.Total != 40 || got.P95 != 0 || got.Failure.Status != "timeout" {
		t.Errorf("after the window: got %+v, want no calls, and the last failure", got)
	}
}

// A call that outlives its server's place in the configuration ends well.
func TestKeep(t *testing.T) {
	t.Parallel()
	c := New(time.Now)
	c.Keep([]string{"a", "b"})
	call := telemetry.Call{Server: "a", Transport: "http", Status: "ok"}
	ctx := c.Begin(context.Background(), &call)
	if got := c.Server("a").InFlight; got != 1 {
		t.Errorf("got %d in flight, want 1", got)
	}
	c.Keep([]string{"b"})
	c.Keep([]string{"a", "b"})
	c.End(ctx, &call)
	if got := c.Server("a"); got.InFlight != 0 || got.Calls != 0 {
		t.Errorf("got %+v, want it forgotten", got)
	}
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{150 * time.Microsecond, 3 * time.Millisecond, 80 * time.Millisecond, 7 * time.Second, 40 * time.Minute} {
		var h histogram
		h.add(d)
		if got := h.quantile(.95); got < d*3/4 || got > d*4/3 {
			t.Errorf("got %s for %s", got, d)
		}
	}
}
