// Package traffic makes calls of MCP tools over each of the gateway's transports and
// measures how long they take. It does not spread load over machines, and what it
// sends never varies but for ids.
//
// Runs in: tests/bench.
package traffic

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A Session is one client of a server: one call at a time.
type Session interface {
	// Call calls the echo tool and returns when the whole answer has come.
	Call() error
	Close() error
}

// Plan is how sessions are used.
type Plan struct {
	Duration time.Duration
	// Rate is the calls a second of all sessions together; 0 is a closed loop, in which
	// each session calls again as soon as it has its answer.
	Rate float64
}

// Result is what came of a plan.
type Result struct {
	Latency Histogram
	Elapsed time.Duration // from the first call to the last answer
}

// PerSecond is how many calls were answered in a second.
func (r *Result) PerSecond() float64 { return float64(r.Latency.Count()) / r.Elapsed.Seconds() }

// Open opens n sessions, all or none.
func Open(n int, open func() (Session, error)) ([]Session, error) {
	var sessions []Session
	for range n {
		s, err := open()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open session %d of %d: %w", len(sessions)+1, n, err), Close(sessions))
		}
		sessions = append(sessions, s)
	}
	return sessions, nil
}

// Close closes all of them.
func Close(sessions []Session) error {
	var errs []error
	for _, s := range sessions {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// Run uses all sessions at the same time. A call that fails ends it: what is measured
// are good answers.
func Run(ctx context.Context, sessions []Session, plan Plan) (*Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		running sync.WaitGroup
		mu      sync.Mutex
		result  Result
	)
	begin := time.Now()
	for i, s := range sessions {
		running.Go(func() {
			var own Histogram
			var err error
			if plan.Rate > 0 {
				every := time.Duration(float64(len(sessions)) / plan.Rate * float64(time.Second))
				offset := every * time.Duration(i) / time.Duration(len(sessions))
				err = paced(ctx, s, begin.Add(offset), every, begin.Add(plan.Duration), &own)
			} else {
				err = closed(ctx, s, begin.Add(plan.Duration), &own)
			}
			if err != nil {
				cancel(err)
			}
			mu.Lock()
			defer mu.Unlock()
			result.Latency.Merge(&own)
		})
	}
	running.Wait()
	result.Elapsed = time.Since(begin)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if result.Latency.Count() == 0 {
		return nil, errors.New("no call was made")
	}
	return &result, nil
}

func closed(ctx context.Context, s Session, end time.Time, h *Histogram) error {
	for now := time.Now(); now.Before(end) && ctx.Err() == nil; {
		if err := s.Call(); err != nil {
			return err
		}
		answered := time.Now()
		h.Add(answered.Sub(now))
		now = answered
	}
	return nil
}

// paced makes a call each time that one is due. One that is late because the call
// before took too long is made at once, and its latency counts from when it was due:
// a server that stalls delays all who would have come meanwhile (coordinated omission).
func paced(ctx context.Context, s Session, due time.Time, every time.Duration, end time.Time, h *Histogram) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ; due.Before(end); due = due.Add(every) {
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return nil
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if err := s.Call(); err != nil {
			return err
		}
		h.Add(time.Since(due))
	}
	return nil
}
