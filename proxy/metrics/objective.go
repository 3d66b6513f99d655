package metrics

import (
	"sync"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/telemetry"
)

// windows are those that slo_burn_rate is told over, the longest last.
func windows() []window {
	return []window{{"5m", 5 * time.Minute}, {"30m", 30 * time.Minute}, {"1h", time.Hour}, {"6h", 6 * time.Hour}}
}

type window struct {
	name string
	long time.Duration
}

// objective is how well a server does what its objective says. It goes on for as long as
// the objective is the same.
type objective struct {
	rules policy.Objective

	mu                    sync.Mutex
	availability, latency *record // nil without such an objective
}

// aim sets what is wanted of a server from now on.
func (s *server) aim(rules policy.Objective) {
	if before := s.objective.Load(); before != nil && before.rules == rules {
		return
	}
	if rules.Availability == 0 && rules.Latency == 0 {
		s.objective.Store(nil)
		return
	}
	o := &objective{rules: rules}
	if rules.Availability > 0 {
		o.availability = newRecord(rules.Availability, rules.Window)
	}
	if rules.Latency > 0 {
		o.latency = newRecord(rules.LatencyTarget, rules.Window)
	}
	s.objective.Store(o)
}

// tell judges a call.
func (o *objective) tell(how status, c *telemetry.Call) {
	counts, good := available(how, c)
	timed := counts && good && !c.Refused && (c.Method == mcp.MethodToolsCall || c.Method == mcp.MethodResourcesRead || c.Method == mcp.MethodPromptsGet)
	if !counts {
		return
	}
	at := c.Started.Add(c.Duration).Unix()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.availability != nil {
		o.availability.add(at, good)
	}
	if o.latency != nil && timed {
		o.latency.add(at, c.Duration <= o.rules.Latency)
	}
}

// available reports whether a call says anything of its server, and what. What the
// gateway asks by itself, what a client gave up, and what it had no right to does not.
func available(how status, c *telemetry.Call) (counts, good bool) {
	switch {
	case c.Transport == "", how == statusCancelled:
		return false, false
	case how == statusForbidden, how == statusLimited, how == statusUnknown, how == statusStranger:
		return false, false
	}
	return true, !c.Fault()
}

// record is what became of the events that an objective is about.
type record struct {
	target         float64 // part of them that are to be good
	window         time.Duration
	good, bad      uint64 // since the start
	minutes, hours *ring
}

func newRecord(percent float64, window time.Duration) *record {
	all := windows()
	return &record{
		target: percent / 100, window: window,
		minutes: newRing(time.Minute, all[len(all)-1].long), hours: newRing(time.Hour, window),
	}
}

func (r *record) add(at int64, good bool) {
	if good {
		r.good++
	} else {
		r.bad++
	}
	r.minutes.add(at, good)
	r.hours.add(at, good)
}

// burn is how many times faster than the objective allows its error budget is used up.
func (r *record) burn(now int64, over time.Duration) float64 {
	return r.minutes.badness(now, over) / (1 - r.target)
}

// remaining is the part of the error budget that is left of the objective's window,
// below zero if more than that was used up.
func (r *record) remaining(now int64) float64 {
	return 1 - r.hours.badness(now, r.window)/(1-r.target)
}

// ring counts events by the time when they were, for a while.
type ring struct {
	width int64 // seconds of a slot
	slots []slot
}

type slot struct {
	at        int64 // in slots since 1970
	good, bad uint64
}

func newRing(width, long time.Duration) *ring {
	return &ring{int64(width / time.Second), make([]slot, int(long/width)+1)}
}

func (r *ring) add(at int64, good bool) {
	n := at / r.width
	s := &r.slots[n%int64(len(r.slots))]
	if s.at != n {
		*s = slot{at: n}
	}
	if good {
		s.good++
	} else {
		s.bad++
	}
}

// badness is the part of the events of the last while that were bad; 0 if there were
// none. The slot of now is not over, and so the first one counts in full.
func (r *ring) badness(now int64, over time.Duration) float64 {
	last := now / r.width
	first := last - int64(over/time.Second)/r.width
	var good, bad uint64
	for i := range r.slots {
		if s := &r.slots[i]; s.at >= first && s.at <= last {
			good, bad = good+s.good, bad+s.bad
		}
	}
	if bad == 0 {
		return 0
	}
	return float64(bad) / float64(good+bad)
}
