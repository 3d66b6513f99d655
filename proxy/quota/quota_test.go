package quota

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mcpgateway/policy"
)

func at(text string) time.Time {
	parsed, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return parsed
}

// budgeted returns a table with one project, acme, that has used nothing.
func budgeted(now time.Time, b policy.Budget) *Table {
	t := New()
	t.Apply(map[string]policy.Budget{"acme": b})
	t.Set(now, nil)
	return t
}

// However many come at once, exactly as many are let in as the budget has.
func TestConcurrentCallsDontOvershoot(t *testing.T) {
	t.Parallel()
	const limit, callers, calls = 1000, 100, 30
	now := at("2026-11-28T12:00:00Z")
	table := budgeted(now, policy.Budget{CallsPerDay: limit})
	var made, fruitless atomic.Int64
	var calling sync.WaitGroup
	for caller := range callers {
		calling.Go(func() {
			for call := range calls {
				pass, err := table.Enter("acme", now)
				if err != nil {
					continue
				}
				if (caller+call)%7 == 0 { // reached no server
					fruitless.Add(1)
					table.Leave(pass)
					continue
				}
				made.Add(1)
				table.LeaveCounted(pass, "acme", now)
			}
		})
	}
	calling.Wait()
	for made.Load() < limit { // places that were taken while others were turned away
		pass, err := table.Enter("acme", now)
		if err != nil {
			t.Fatalf("after %d calls: %v", made.Load(), err)
		}
		made.Add(1)
		table.LeaveCounted(pass, "acme", now)
	}
	if _, err := table.Enter("acme", now); err == nil || made.Load() != limit || fruitless.Load() == 0 {
		t.Errorf("got %d calls (and %d that did not count), then %v, want %d and no more", made.Load(), fruitless.Load(), err, limit)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	now := at("2026-11-28T23:00:00Z")
	tests := []struct {
		name   string
		budget policy.Budget
		used   Known
		want   string
		retry  time.Duration
	}{
		{"calls", policy.Budget{CallsPerDay: 10000}, Known{Calls: 10000},
			`project "acme" has used up its quota of 10000 calls a day: it begins anew at 2026-11-29T00:00:00Z, or raise projects.acme.quota.calls_per_day`, time.Hour},
		{"cpu", policy.Budget{CPUSecondsPerMonth: 60}, Known{CPUMicros: 60e6},
			`project "acme" has used up its quota of 60 CPU seconds a month: it begins anew at 2026-12-01T00:00:00Z, or raise projects.acme.quota.cpu_seconds_per_month`, 49 * time.Hour},
		{"just below", policy.Budget{CallsPerDay: 10000, CPUSecondsPerMonth: 60}, Known{Calls: 9999, CPUMicros: 60e6 - 1}, "<nil>", 0},
		{"none of either", policy.Budget{CallsPerDay: 10000}, Known{CPUMicros: 1e18}, "<nil>", 0},
	}
	for _, test := range tests {
		table := budgeted(now, test.budget)
		table.Set(now, map[string]Known{"acme": test.used})
		_, err := table.Enter("acme", now)
		if got := fmt.Sprint(err); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
		var over *Error
		if errors.As(err, &over) && over.RetryAfter() != test.retry {
			t.Errorf("%s: got retry after %s, want %s", test.name, over.RetryAfter(), test.retry)
		}
		if _, err := table.Enter("another", now); err != nil {
			t.Errorf("%s: another project: %v", test.name, err)
		}
	}
}

// Days and months begin anew by the clock, and what is of an older one does not count.
func TestPeriods(t *testing.T) {
	t.Parallel()
	last, next := at("2026-11-30T23:59:59Z"), at("2026-12-01T00:00:00Z")
	table := budgeted(last, policy.Budget{CallsPerDay: 2, CPUSecondsPerMonth: 10})
	long, err := table.Enter("acme", last)
	if err != nil {
		t.Fatal(err)
	}
	table.Count("acme", last, 1, 10e6)
	if _, err := table.Enter("acme", last); err == nil {
		t.Error("got in on the last second of a day that is used up")
	}
	pass, err := table.Enter("acme", next)
	if err != nil {
		t.Fatalf("on a new day: %v", err)
	}
	table.LeaveCounted(long, "acme", last) // of the day before
	table.LeaveCounted(pass, "acme", next)
	table.Count("acme", last, 5, 99e6)
	again, err := table.Enter("acme", next)
	if err != nil {
		t.Fatalf("what is of the day before counts: %v", err)
	}
	table.LeaveCounted(again, "acme", next)
	if _, err := table.Enter("acme", next); err == nil {
		t.Error("got in for the third call of two")
	}
	if _, err := table.Enter("acme", last); err == nil {
		t.Error("got in because the clock was set back")
	}
}

// Nobody gets in before it is known what was used.
func TestUnknown(t *testing.T) {
	t.Parallel()
	now := at("2026-11-28T12:00:00Z")
	table := New()
	table.Apply(map[string]policy.Budget{"acme": {CallsPerDay: 3}})
	table.Count("acme", now, 1, 0)
	if _, err := table.Enter("acme", now); !errors.Is(err, ErrUnknown) || !table.Unknown() {
		t.Errorf("got %v, want ErrUnknown", err)
	}
	if _, err := table.Enter("acme", now.Add(24*time.Hour)); !errors.Is(err, ErrUnknown) {
		t.Errorf("on the next day: got %v, want ErrUnknown: others may have called already", err)
	}
	table.Set(now.Add(24*time.Hour), map[string]Known{"acme": {Calls: 2}})
	if _, err := table.Enter("acme", now.Add(24*time.Hour)); err != nil || table.Unknown() {
		t.Error(err)
	}
	if _, err := table.Enter("acme", now.Add(24*time.Hour)); err == nil {
		t.Error("got in for the fourth call of three")
	}
}

// Who looks after a gateway is told once at a part of a budget, and once at its end.
func TestAlerts(t *testing.T) {
	t.Parallel()
	now := at("2026-11-28T12:00:00Z")
	table := budgeted(now, policy.Budget{CallsPerDay: 10, WarnPercent: 80})
	var told []float64
	for range 12 {
		table.Count("acme", now, 1, 0)
		for range 2 {
			for _, alert := range table.Alerts(now) {
				told = append(told, alert.Ratio())
			}
		}
	}
	for _, alert := range table.Alerts(now.Add(24 * time.Hour)) {
		t.Errorf("on a new day: got %+v", alert)
	}
	table.Count("acme", now.Add(24*time.Hour), 9, 0)
	for _, alert := range table.Alerts(now.Add(24 * time.Hour)) {
		told = append(told, alert.Ratio())
	}
	if got := fmt.Sprint(told); got != "[0.8 1 0.9]" {
		t.Errorf("got %s, want [0.8 1 0.9]", got)
	}
	if states := table.States(now.Add(24 * time.Hour)); len(states) != 1 || states[0].Used != 9 || states[0].Limit != 10 || states[0].Quota != CallsPerDay {
		t.Errorf("got %+v", states)
	}
}
