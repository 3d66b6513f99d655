package gate

import (
	"context"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/audit"
	"mcpgateway/policy/authn"
)

// Current is what the fronts enforce now: one policy generation.
type Current struct {
	Policy *policy.Policy
	Auth   *authn.Authenticator
	Gate   *Gate
	// Floods bounds what the audit log is told of clients that nobody knows. It
	// outlives generations; nil: no bound.
	Floods *Floods
}

// early is how many connections there may be before the first generation.
const early = 1024

// Connections says how many there may be at a front, in all and of each caller.
func (c *Current) Connections() (all, each int) {
	if c == nil {
		return early, early
	}
	return c.Policy.Limits.MaxConnections, c.Policy.Limits.MaxConnectionsPerCaller
}

// Arrival is a client at the door of a front.
type Arrival struct {
	authn.Request
	Address string // what it asks for, as it came: for the audit log
	Origin  Origin
}

// Admit finds out who a client is. What it refuses is audited; its errors are
// *authn.Error.
func (c *Current) Admit(ctx context.Context, a Arrival) (*policy.Identity, error) {
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
	c.Gate.turnedAway(a.Origin, policy.Scope{}, err)
	log := c.Gate.rules.Audit
	if log == nil {
		return
	}
	flood := c.Floods.of(err)
	suppressed, tell := flood.tell()
	if !tell {
		return
	}
	slot, reserved := log.Reserve(ctx)
	if reserved != nil {
		flood.untold(suppressed + 1) // refused it is in any case
		return
	}
	record := identified(a.Origin, &policy.Identity{}, time.Now())
	record.Event, record.Decision = audit.EventAuthFailed, audit.Deny
	record.Name, record.Status, record.Reason = a.Address, statusOf(err), err.Error()+likeIt(suppressed)
	slot.Write(&record)
}
