// Package quota decides whether a project may use more: its calls in a day and its CPU
// seconds in a month, of UTC, against its budget. Calls that are under way count as if
// they had been made, so that however many come at once, none is over. It counts what it
// is told, and keeps nothing: what was used before comes from the ledger.
//
// Runs in: proxy.
package quota

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mcpgateway/policy"
)

// The names of quotas, as the configuration has them.
const (
	CallsPerDay        = "calls_per_day"
	CPUSecondsPerMonth = "cpu_seconds_per_month"
)

// ErrUnknown says that nobody knows what a project has used: what might be over its
// budget is not let in.
var ErrUnknown = errors.New("the project has a quota, and what it has used can't be read from the ledger at the moment: try again later")

// Error says that a budget is used up.
type Error struct {
	Project string
	Quota   string // its name
	Limit   int64
	Until   time.Time // when it begins anew
	now     time.Time
}

func (e *Error) Error() string {
	what := map[string]string{CallsPerDay: "calls a day", CPUSecondsPerMonth: "CPU seconds a month"}[e.Quota]
	return fmt.Sprintf("project %q has used up its quota of %d %s: it begins anew at %s, or raise projects.%s.quota.%s",
		e.Project, e.Limit, what, e.Until.Format(time.RFC3339), e.Project, e.Quota)
}

// RetryAfter is how long it is until the budget begins anew, > 0.
func (e *Error) RetryAfter() time.Duration { return max(time.Second, e.Until.Sub(e.now)) }

// Table is all budgets. Its methods may be called concurrently.
type Table struct {
	some atomic.Bool // there are accounts

	mu       sync.Mutex
	accounts map[string]*account
}

// account is what one project has used.
type account struct {
	budget policy.Budget
	calls  counter
	cpu    counter // microseconds
	passes int64   // under way
}

// counter is what was used in one period.
type counter struct {
	period time.Time // its beginning; zero: none yet
	known  bool      // used has what was used before this process, too
	used   int64
	told   int // of the levels that somebody was told of
}

// New returns a table without budgets.
func New() *Table { return &Table{accounts: map[string]*account{}} }

// Apply puts budgets in force. What was used stays, and what a new one has used is not
// known until Set.
func (t *Table) Apply(budgets map[string]policy.Budget) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for project := range t.accounts {
		if _, there := budgets[project]; !there {
			delete(t.accounts, project)
		}
	}
	for project, budget := range budgets {
		a := t.accounts[project]
		if a == nil {
			a = &account{}
			t.accounts[project] = a
		}
		if a.budget != budget {
			a.budget, a.calls.told, a.cpu.told = budget, 0, 0
		}
	}
	t.some.Store(len(t.accounts) > 0)
}

// Has reports whether a project has a budget.
func (t *Table) Has(project string) bool {
	if !t.some.Load() {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.accounts[project] != nil
}

// Day and Month are the periods that a time is in: their beginnings.
func Day(at time.Time) time.Time { return at.UTC().Truncate(24 * time.Hour) }

// Month is the month that a time is in.
func Month(at time.Time) time.Time {
	return time.Date(at.UTC().Year(), at.UTC().Month(), 1, 0, 0, 0, 0, time.UTC)
}

// turn begins a new period when it is time. The clock may be set back: a period that is
// over does not come again.
func (c *counter) turn(period time.Time) {
	if period.After(c.period) {
		// Nothing was used yet in a period that has just begun; but the first one began
		// before this process.
		*c = counter{period: period, known: !c.period.IsZero() && c.known}
	}
}

// turn begins new periods. What is under way stays so: it counts when it ends.
func (a *account) turn(now time.Time) {
	a.calls.turn(Day(now))
	a.cpu.turn(Month(now))
}

// Pass is a call that was let in. The zero Pass is of a project without a budget.
type Pass struct{ account *account }

// Enter lets a call in, or says why not: an *Error, or ErrUnknown. Whoever is let in must
// Leave.
func (t *Table) Enter(project string, now time.Time) (Pass, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.accounts[project]
	if a == nil {
		return Pass{}, nil
	}
	a.turn(now)
	calls, cpu := a.budget.CallsPerDay, a.budget.CPUSecondsPerMonth
	switch {
	case calls > 0 && !a.calls.known, cpu > 0 && !a.cpu.known:
		return Pass{}, ErrUnknown
	case calls > 0 && a.calls.used+a.passes >= calls:
		return Pass{}, &Error{project, CallsPerDay, calls, a.calls.period.AddDate(0, 0, 1), now}
	case cpu > 0 && a.cpu.used >= cpu*micros:
		return Pass{}, &Error{project, CPUSecondsPerMonth, cpu, a.cpu.period.AddDate(0, 1, 0), now}
	}
	a.passes++
	return Pass{a}, nil
}

const micros = int64(time.Second / time.Microsecond)

// Leave says that a call is over that does not count.
func (t *Table) Leave(p Pass) {
	if p.account == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p.account.passes--
}

// Count counts what was used in the periods of a time. What is of an older period is not
// counted any more.
func (t *Table) Count(project string, at time.Time, calls, cpuMicros int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.accounts[project]; a != nil {
		a.calls.add(Day(at), calls)
		a.cpu.add(Month(at), cpuMicros)
	}
}

// LeaveCounted is Leave and Count at once, for a call of which no other is to see but one
// half.
func (t *Table) LeaveCounted(p Pass, project string, at time.Time) {
	if p.account == nil && !t.some.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.account != nil {
		p.account.passes--
	}
	if a := t.accounts[project]; a != nil {
		a.calls.add(Day(at), 1)
	}
}

func (c *counter) add(period time.Time, n int64) {
	c.turn(period)
	if period.Equal(c.period) {
		c.used += n
	}
}

// Known is what a project has used in the day and in the month of a time.
type Known struct{ Calls, CPUMicros int64 }

// Set says what was used, of all projects that have used anything.
func (t *Table) Set(at time.Time, used map[string]Known) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for project, a := range t.accounts {
		a.calls.set(Day(at), used[project].Calls)
		a.cpu.set(Month(at), used[project].CPUMicros)
	}
}

func (c *counter) set(period time.Time, n int64) {
	c.turn(period)
	if period.Equal(c.period) {
		c.used, c.known = n, true
	}
}

// Unknown reports whether there is a budget of which nobody knows what was used.
func (t *Table) Unknown() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range t.accounts {
		if !a.calls.known || !a.cpu.known {
			return true
		}
	}
	return false
}

// State is one quota of a project.
type State struct {
	Project string
	Quota   string  // its name
	Limit   float64 // calls, or CPU seconds
	Used    float64
	Known   bool
	Until   time.Time
}

// Ratio is the part that is used up.
func (s State) Ratio() float64 { return s.Used / s.Limit }

// States gives all quotas, sorted.
func (t *Table) States(now time.Time) []State {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []State
	for project, a := range t.accounts {
		a.turn(now)
		all = append(all, a.states(project)...)
	}
	slices.SortFunc(all, func(a, b State) int {
		return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Quota, b.Quota))
	})
	return all
}

func (a *account) states(project string) (all []State) {
	if limit := a.budget.CallsPerDay; limit > 0 {
		all = append(all, State{project, CallsPerDay, float64(limit), float64(a.calls.used), a.calls.known, a.calls.period.AddDate(0, 0, 1)})
	}
	if limit := a.budget.CPUSecondsPerMonth; limit > 0 {
		all = append(all, State{project, CPUSecondsPerMonth, float64(limit), float64(a.cpu.used) / float64(micros), a.cpu.known, a.cpu.period.AddDate(0, 1, 0)})
	}
	return all
}

// Alerts gives the quotas that have come to the part at which their use is told of, or to
// their end, each once in a period.
func (t *Table) Alerts(now time.Time) (alerts []State) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for project, a := range t.accounts {
		a.turn(now)
		for _, s := range a.states(project) {
			c := &a.calls
			if s.Quota == CPUSecondsPerMonth {
				c = &a.cpu
			}
			level := 0
			switch percent := s.Ratio() * 100; {
			case percent >= 100:
				level = 2
			case percent >= float64(a.budget.WarnPercent):
				level = 1
			}
			if level > c.told {
				c.told = level
				alerts = append(alerts, s)
			}
		}
	}
	return alerts
}
