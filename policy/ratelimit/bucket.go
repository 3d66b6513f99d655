package ratelimit

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"mcpgateway/policy"
)

// bucket is what was taken of one limit. Its limit is that of whoever takes.
type bucket struct {
	mu      sync.Mutex
	limiter *rate.Limiter // nil: full
	by      policy.Rate   // of the limiter
	last    time.Time     // the latest time that was seen
	gone    bool          // it was forgotten: another has its name

	inside atomic.Int64 // requests in flight; whoever adds one has mu
}

// bound is a bucket and what it is held to. The zero bound bounds nothing.
type bound struct {
	bucket *bucket
	quota  policy.Quota
	what   string
}

// busyRetry is when a request that found too many in flight may try again. Nobody
// knows when one of those will end.
const busyRetry = time.Second

// lackingLocked is why a request can't be let in now; nil if it can. mu must be held.
func (b *bound) lackingLocked(now time.Time) *Error {
	if most := b.quota.Concurrent; most > 0 && b.bucket.inside.Load() >= int64(most) {
		return &Error{What: b.what, Limit: b.quota, Concurrent: true, RetryAfter: busyRetry}
	}
	if wait := b.bucket.waitLocked(b.quota.Rate, now); wait > 0 {
		return &Error{What: b.what, Limit: b.quota, RetryAfter: wait}
	}
	return nil
}

// waitLocked is how long it takes until there is a token. It also sets the rate. mu
// must be held.
func (b *bucket) waitLocked(by *policy.Rate, now time.Time) time.Duration {
	if by == nil {
		return 0
	}
	limit := rate.Limit(by.PerSecond)
	if b.limiter == nil {
		b.limiter, b.by = rate.NewLimiter(limit, by.Burst), *by
	}
	now = b.laterLocked(now)
	if b.by != *by {
		b.limiter.SetLimitAt(now, limit)
		b.limiter.SetBurstAt(now, by.Burst)
		b.by = *by
	}
	return time.Duration((1 - b.limiter.TokensAt(now)) / by.PerSecond * float64(time.Second))
}

// takeLocked takes a token, which must be there, and a place. mu must be held.
func (b *bucket) takeLocked(by *policy.Rate, now time.Time) {
	if by != nil {
		b.limiter.AllowN(b.laterLocked(now), 1)
	}
	b.inside.Add(1)
}

// laterLocked keeps time from going back, for which the limiter would pay twice:
// requests do not come here in the order of their times. mu must be held.
func (b *bucket) laterLocked(now time.Time) time.Time {
	if now.After(b.last) {
		b.last = now
	}
	return b.last
}

func (b *bucket) leave() { b.inside.Add(-1) }

// forget marks the bucket as gone if that takes nothing from anybody and gives
// nobody anything: nobody is in flight, and it is as full as a new one.
func (b *bucket) forget(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	full := b.limiter == nil || b.limiter.TokensAt(b.laterLocked(now)) >= float64(b.by.Burst)
	b.gone = full && b.inside.Load() == 0
	return b.gone
}

// maxBounds is the most that bounds one request: gateway, caller, project, server,
// tool.
const maxBounds = 5

// taking is the bounds of one request, always in the order above, which is also that
// of their locks.
type taking struct {
	bounds [maxBounds]bound
	count  int
}

func (t *taking) add(b bound) {
	if b.bucket != nil {
		t.bounds[t.count] = b
		t.count++
	}
}

// ignoreFlight lets something in however many requests are in flight.
func (t *taking) ignoreFlight() {
	for i := range t.count {
		t.bounds[i].quota.Concurrent = 0
	}
}

// take takes a token and a place of every bound, or nothing, and then says which one
// lacks them for longest. gone says that one of the buckets is no more.
func (t *taking) take(now time.Time) (pass Pass, lacks *Error, gone bool) {
	bounds := t.bounds[:t.count]
	for i := range bounds {
		bounds[i].bucket.mu.Lock()
		gone = gone || bounds[i].bucket.gone
	}
	if !gone {
		lacks = worstLocked(bounds, now)
	}
	for i := range bounds {
		if !gone && lacks == nil {
			bounds[i].bucket.takeLocked(bounds[i].quota.Rate, now)
			pass.held[i] = bounds[i].bucket
		}
		bounds[i].bucket.mu.Unlock()
	}
	return pass, lacks, gone
}

// worstLocked is why a request can't be let in for longest; nil if it can. The mu of
// all must be held.
func worstLocked(bounds []bound, now time.Time) (worst *Error) {
	for i := range bounds {
		if lacks := bounds[i].lackingLocked(now); lacks != nil && (worst == nil || lacks.RetryAfter > worst.RetryAfter) {
			worst = lacks
		}
	}
	return worst
}
