// Package recent counts the calls of the last five minutes, server by server: how
// many, how many failed, how long they took. It is for people who look at a gateway
// now; what is kept for longer is counted elsewhere. What it holds is bounded by the
// number of servers, whatever they or their clients do.
//
// Runs in: proxy.
package recent

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mcpgateway/proxy/telemetry"
)

// Window is how far back is counted, in steps of Step.
const (
	Window = 5 * time.Minute
	Step   = 10 * time.Second
	steps  = int(Window / Step)
)

// maxReason is the most bytes that are kept of why a call failed.
const maxReason = 300

// Calls is a telemetry.Observer. What the gateway asks servers on its own is not
// counted.
type Calls struct {
	now     func() time.Time
	servers atomic.Pointer[map[string]*server] // never changed
}

// New returns one that knows no server: see Keep.
func New(now func() time.Time) *Calls {
	c := &Calls{now: now}
	c.servers.Store(&map[string]*server{})
	return c
}

// server is what is counted of one.
type server struct {
	mu       sync.Mutex
	inFlight int
	total    int64
	restarts uint64
	ring     [steps]bucket
	failure  Failure
	last     time.Time
}

// bucket is one step of time.
type bucket struct {
	begins  time.Time
	counts  Counts
	latency histogram
}

// Counts are numbers of calls that have ended.
type Counts struct {
	Calls      int64 // all
	Errors     int64 // that failed by no fault of their clients
	ToolErrors int64 // whose tool said that it failed
	Refused    int64 // that the gateway did not pass on
}

func (c *Counts) add(other Counts) {
	c.Calls += other.Calls
	c.Errors += other.Errors
	c.ToolErrors += other.ToolErrors
	c.Refused += other.Refused
}

// Failure is the last call that failed by no fault of its client.
type Failure struct {
	Time   time.Time
	Status string // as telemetry.Call has it
	Reason string // may hold what a server wrote
}

// Stats are what is known of one server, or of all.
type Stats struct {
	Counts
	Total     int64  // calls that have ended since the server is known
	Restarts  uint64 // since then
	InFlight  int
	PerSecond float64       // calls, over the last whole step
	P50       time.Duration // of the calls that were passed on, coarsely; 0 without any
	P95       time.Duration
	LastCall  time.Time
	Failure   Failure
}

// Keep says which servers there are. Others are forgotten, and not counted. Calls must
// come one at a time.
func (c *Calls) Keep(names []string) {
	before, kept := *c.servers.Load(), make(map[string]*server, len(names))
	for _, name := range names {
		kept[name] = cmp.Or(before[name], &server{})
	}
	c.servers.Store(&kept)
}

// server is the one with a name; nil if nobody knows it.
func (c *Calls) server(name string) *server { return (*c.servers.Load())[name] }

func counted(call *telemetry.Call) bool { return call.Transport != "" }

// Begin counts a call as one in flight.
func (c *Calls) Begin(ctx context.Context, call *telemetry.Call) context.Context {
	if !counted(call) {
		return ctx
	}
	s := c.server(call.Server)
	if s == nil {
		return ctx
	}
	s.mu.Lock()
	s.inFlight++
	s.mu.Unlock()
	return context.WithValue(ctx, begunKey{}, s)
}

// begunKey is where a context has the *server whose call in flight it is: after a
// Keep there may be another.
type begunKey struct{}

// End counts what became of a call.
func (c *Calls) End(ctx context.Context, call *telemetry.Call) {
	s, ok := ctx.Value(begunKey{}).(*server)
	if !ok {
		return
	}
	now := c.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight--
	s.total++
	s.last = now
	b := s.at(now)
	b.counts.Calls++
	switch {
	case call.Fault():
		b.counts.Errors++
		s.failure = Failure{now, call.Status, call.Reason[:min(len(call.Reason), maxReason)]}
	case call.Status == "tool-error":
		b.counts.ToolErrors++
	}
	if call.Refused {
		b.counts.Refused++
		return
	}
	b.latency.add(call.Duration)
}

// Restarted counts an instance of a server that took the place of one that had ended by
// itself.
func (c *Calls) Restarted(server string) {
	if s := c.server(server); s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.restarts++
	}
}

// at is the bucket of a time, an empty one if what it has is of a time before.
func (s *server) at(now time.Time) *bucket {
	begins := now.Truncate(Step)
	b := &s.ring[int(begins.Unix()/int64(Step.Seconds()))%steps]
	if !b.begins.Equal(begins) {
		*b = bucket{begins: begins}
	}
	return b
}

// Server gives what is known of one server; zero of one that nobody knows.
func (c *Calls) Server(name string) Stats {
	if s := c.server(name); s != nil {
		return summarise(c.now(), s)
	}
	return Stats{}
}

// All gives what is known of all servers together.
func (c *Calls) All() Stats {
	return summarise(c.now(), slices.Collect(maps.Values(*c.servers.Load()))...)
}

func summarise(now time.Time, servers ...*server) (sum Stats) {
	var latency histogram
	current := now.Truncate(Step)
	for _, s := range servers {
		sum.take(s, current, &latency)
	}
	sum.P50, sum.P95 = latency.quantile(.5), latency.quantile(.95)
	return sum
}

// take adds what is known of a server, at a time.
func (sum *Stats) take(s *server, current time.Time, latency *histogram) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum.InFlight += s.inFlight
	sum.Total += s.total
	sum.Restarts += s.restarts
	if s.last.After(sum.LastCall) {
		sum.LastCall = s.last
	}
	if s.failure.Time.After(sum.Failure.Time) {
		sum.Failure = s.failure
	}
	for i := range s.ring {
		b := &s.ring[i]
		if !b.begins.After(current.Add(-Window)) {
			continue
		}
		sum.add(b.counts)
		latency.merge(&b.latency)
		if b.begins.Equal(current.Add(-Step)) {
			sum.PerSecond += float64(b.counts.Calls) / Step.Seconds()
		}
	}
}

// histogram counts durations, coarsely: each bound is half as much again as the one
// below it, so that what is read from it is off by a quarter at most.
type histogram [bounds + 1]uint32

const (
	bounds   = 44 // the last is over an hour
	shortest = 100 * time.Microsecond
)

// bound is the upper end of a histogram's part; the last has none.
func bound(i int) time.Duration {
	d := float64(shortest)
	for range i {
		d *= 1.5
	}
	return time.Duration(d)
}

func (h *histogram) add(d time.Duration) {
	i, upper := 0, float64(shortest)
	for i < bounds && float64(d) > upper {
		i, upper = i+1, upper*1.5
	}
	h[i]++
}

func (h *histogram) merge(other *histogram) {
	for i, n := range other {
		h[i] += n
	}
}

// quantile is the middle of the part that it lies in.
func (h *histogram) quantile(q float64) time.Duration {
	var all uint64
	for _, n := range h {
		all += uint64(n)
	}
	if all == 0 {
		return 0
	}
	rank := uint64(q * float64(all))
	var seen uint64
	part := slices.IndexFunc(h[:], func(n uint32) bool { seen += uint64(n); return seen > rank })
	return rounded(bound(part) * 5 / 6)
}

// rounded keeps as many digits as a coarse number deserves.
func rounded(d time.Duration) time.Duration {
	for unit := time.Hour; unit > time.Microsecond; unit /= 10 {
		if d > 100*unit {
			return d.Round(unit)
		}
	}
	return d.Round(10 * time.Microsecond)
}
