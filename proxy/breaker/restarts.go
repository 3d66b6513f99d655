package breaker

import (
	"cmp"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mcpgateway/policy"
)

// maxPause is how long who wants a new instance is kept waiting; beyond it they are told
// when to come again.
const maxPause = 5 * time.Second

// Row is the instances of a place that ended by themselves, or did not start, one after
// the other.
type Row struct {
	Place
	Ends  int       // so many
	Cause string    // of the last one's end
	Next  time.Time // when the next may be started
	Loop  bool      // it may not, until somebody says so or the configuration changes

	revision string // of the configuration that they were started from
}

// Restarts say when an instance may be started at a place. The first is at once; after
// each end the wait is doubled, with jitter, up to a bound; and after so many ends it is
// a crash loop. It is about starts alone: whether requests may go to an instance is for
// the breaker.
type Restarts struct {
	log *slog.Logger

	some atomic.Bool // there are rows

	mu    sync.Mutex
	rows  map[Place]*Row
	swept time.Time // when room was looked for
}

// Some reports whether there is a place where something has ended of late.
func (r *Restarts) Some() bool { return r.some.Load() }

func (r *Restarts) forgetLocked(at Place) {
	delete(r.rows, at)
	r.some.Store(len(r.rows) > 0)
}

// NewRestarts returns restarts of places where nothing has ended. Crash loops are told
// to log.
func NewRestarts(log *slog.Logger) *Restarts {
	return &Restarts{log: log, rows: map[Place]*Row{}}
}

// LoopError says that no instance is started any more.
type LoopError struct {
	Server string
	Ends   int    // in a row
	Cause  string // of the last, a sentence for the caller
}

func (e *LoopError) Error() string {
	return fmt.Sprintf("server %q is not started any more: it ended %d times in a row, the last time because %s. Once that is put right, an operator starts it with: mcp-gateway servers start %s",
		e.Server, e.Ends, e.Cause, e.Server)
}

// Wait is how long to wait before an instance is started at a place, from what a
// revision of the configuration says; 0: not at all. A *LoopError says that none is, and
// an *OpenError that the wait is too long.
func (r *Restarts) Wait(at Place, by policy.Restart, revision string) (time.Duration, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	row := r.rows[at]
	if row == nil || by.Limit == 0 {
		return 0, nil
	}
	if row.revision != revision {
		r.forgetLocked(at)
		return 0, nil
	}
	if row.Loop = row.Ends >= by.Limit; row.Loop {
		return 0, &LoopError{at.Server, row.Ends, row.Cause}
	}
	wait := max(0, time.Until(row.Next))
	if wait > maxPause {
		return 0, &OpenError{at.Server, row.Next, row.Cause}
	}
	return wait, nil
}

// Failed counts an instance that ended by itself, or did not start.
func (r *Restarts) Failed(at Place, by policy.Restart, revision string, cause error) {
	if by.Limit == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	row := r.rows[at]
	if row == nil || row.revision != revision {
		if row == nil && len(r.rows) >= maxPlaces && !r.makeRoomLocked() {
			return
		}
		row = &Row{Place: at, revision: revision}
		r.rows[at] = row
		r.some.Store(true)
	}
	text := cause.Error()
	row.Ends++
	row.Cause = text[:min(len(text), maxCause)] // a server can say that it is the gateway
	row.Next = time.Now().Add(pause(by, row.Ends))
	log := r.log.With("server", at.Server, "instance", at.Instance, "ends", row.Ends, "err", row.Cause)
	if loop := row.Ends >= by.Limit; loop && !row.Loop {
		row.Loop = true
		log.Error("crash loop: it is not started any more", "start_with", "mcp-gateway servers start "+at.Server)
	} else if !loop {
		log.Warn("it will be started again", "after", time.Until(row.Next).Round(time.Millisecond))
	}
}

// pause is the wait after so many ends in a row.
func pause(by policy.Restart, ends int) time.Duration {
	if ends < 2 {
		return 0
	}
	wait := by.MaxBackoff
	if doublings := ends - 2; doublings < 30 { // a backoff has at most 10 minutes
		wait = min(wait, by.Backoff<<doublings)
	}
	// So that not all that failed together come back together.
	return wait/2 + rand.N(wait/2+1) //nolint:gosec // it is no secret
}

// Lived ends the row of a place: an instance lived for long enough.
func (r *Restarts) Lived(at Place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if row := r.rows[at]; row != nil && !row.Loop { // else somebody shall say so
		r.forgetLocked(at)
	}
}

// Clear ends the rows of all places of a server.
func (r *Restarts) Clear(server string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for at := range r.rows {
		if at.Server == server {
			r.forgetLocked(at)
		}
	}
}

// After is how many instances of a place ended in a row before the next one.
func (r *Restarts) After(at Place) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if row := r.rows[at]; row != nil {
		return row.Ends
	}
	return 0
}

// Rows lists the places where instances ended of late, sorted.
func (r *Restarts) Rows() []Row {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Row
	for _, row := range r.rows {
		all = append(all, *row)
	}
	slices.SortFunc(all, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.Instance, b.Instance))
	})
	return all
}

// makeRoomLocked forgets rows that hold nothing up.
func (r *Restarts) makeRoomLocked() bool {
	now := time.Now()
	if now.Sub(r.swept) < sweepEvery {
		return false
	}
	r.swept = now
	for at, row := range r.rows {
		if !row.Loop && now.After(row.Next) {
			r.forgetLocked(at)
		}
	}
	return len(r.rows) < maxPlaces
}
