package gate

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"mcpgateway/policy"
	"mcpgateway/policy/audit"
	"mcpgateway/policy/authn"
)

// Current is what the fronts enforce now: one policy generation.
type Current struct {
	Policy *policy.Policy
	Auth   *authn.Authenticator
	Gate   *Gate
	// Floods bounds what the audit log is told of sources that were refused for
	// trying too often. It outlives generations; nil: no bound.
	Floods *Floods
}

// Arrival is a client at the door of a front.
type Arrival struct {
	authn.Request
	Address string // what it asks for, as it came: for the audit log
	Origin  Origin
}

// Admit finds out who a client is. What it refuses is audited; its errors are
// *authn.Error.
func (c *Current) Admit(ctx context.Context, a Arrival) (policy.Identity, error) {
	caller, err := c.Auth.Authenticate(ctx, a.Request)
	if err != nil {
		c.refused(ctx, a, err)
	}
	return caller, err
}

// Renew asks again whether a client that was admitted may go on with a scope: keys are
// revoked, certificates and tokens end, and policies change.
func (c *Current) Renew(ctx context.Context, r authn.Request, scope policy.Scope) error {
	caller, err := c.Auth.Authenticate(ctx, r)
	if err != nil {
		return err
	}
	return c.Gate.Authorize(caller, scope)
}

func (c *Current) refused(ctx context.Context, a Arrival, err error) {
	log := c.Gate.rules.Audit
	if log == nil {
		return
	}
	var credential *authn.Error
	suppressed := int64(0)
	if errors.As(err, &credential) && credential.Kind == authn.Throttled {
		var tell bool
		if suppressed, tell = c.Floods.tell(); !tell {
			return
		}
	}
	slot, reserved := log.Reserve(ctx)
	if reserved != nil {
		return // refused it is in any case
	}
	record := identified(a.Origin, policy.Identity{}, time.Now())
	record.Event, record.Decision = audit.EventAuthFailed, audit.Deny
	record.Name, record.Status, record.Reason = a.Address, statusOf(err), err.Error()
	if suppressed > 0 {
		record.Reason += fmt.Sprintf(" (and %d like it since the last such record)", suppressed)
	}
	slot.Write(record)
}

// Floods counts refusals that the audit log is not told one by one.
type Floods struct {
	limit      *rate.Limiter
	suppressed atomic.Int64
}

// NewFloods returns a bound of so many records a second.
func NewFloods(perSecond float64) *Floods {
	return &Floods{limit: rate.NewLimiter(rate.Limit(perSecond), 1)}
}

// tell reports whether the next refusal is to be told, and how many were not.
func (f *Floods) tell() (suppressed int64, tell bool) {
	if f == nil {
		return 0, true
	}
	if !f.limit.Allow() {
		f.suppressed.Add(1)
		return 0, false
	}
	return f.suppressed.Swap(0), true
}
