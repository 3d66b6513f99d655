package gate

import (
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/time/rate"

	"mcpgateway/policy/authn"
	"mcpgateway/policy/ratelimit"
	"mcpgateway/proxy/quota"
)

// Floods bound how many records a second tell of clients that nobody knows, of all of
// them together: whoever reaches the gateway could else fill the audit log, and push
// out of it what others did. What is left out is counted. A nil one bounds nothing.
type Floods struct{ throttled, strangers, wrong *flood }

// NewFloods returns the bounds.
func NewFloods() *Floods {
	return &Floods{throttled: newFlood(1, 1), strangers: newFlood(10, 100), wrong: newFlood(20, 500)}
}

// of returns the bound of a refusal.
func (f *Floods) of(err error) *flood {
	var credential *authn.Error
	switch {
	case f == nil:
		return nil
	case errors.As(err, &credential) && credential.Kind == authn.Throttled:
		return f.throttled
	case errors.As(err, &credential) && credential.Kind == authn.NoCredential:
		return f.strangers
	}
	return f.wrong
}

// flood bounds one kind of refusals. A nil one bounds nothing.
type flood struct {
	limit      *rate.Limiter
	suppressed atomic.Int64
}

func newFlood(perSecond rate.Limit, burst int) *flood {
	return &flood{limit: rate.NewLimiter(perSecond, burst)}
}

// tell reports whether the next refusal is to be told, and how many were not.
func (f *flood) tell() (suppressed int64, tell bool) {
	switch {
	case f == nil:
		return 0, true
	case !f.limit.Allow():
		f.untold(1)
		return 0, false
	}
	return f.suppressed.Swap(0), true
}

// untold counts refusals that were to be told, and could not be.
func (f *flood) untold(n int64) {
	if f != nil {
		f.suppressed.Add(n)
	}
}

// likeIt says in a reason how many records were left out; "" for none.
func likeIt(suppressed int64) string {
	if suppressed == 0 {
		return ""
	}
	return fmt.Sprintf(" (and %d like it since the last such record)", suppressed)
}

// limited reports whether a request was refused because its caller does too much.
func limited(err error) bool {
	var limit *ratelimit.Error
	var used *quota.Error
	return errors.As(err, &limit) || errors.As(err, &used)
}
