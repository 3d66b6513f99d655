package gate

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/audit"
	"mcpgateway/policy/authn"
	"mcpgateway/policy/ratelimit"
	"mcpgateway/proxy/breaker"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/pins"
	"mcpgateway/proxy/quota"
	"mcpgateway/runtime/control"
)

// Reason is why there is no call, in a word that every transport has its own
// status for.
type Reason int

// The reasons of a Refusal.
const (
	Failed    Reason = iota // something happened to the server: an answer inside the protocol
	Unknown                 // no such server or project, for this caller
	Gone                    // no such session, or no more
	Unopened                // the request needs a session
	Conflict                // somebody listens already
	Busy                    // try again later
	Away                    // try again soon: the gateway can reach no server
	NoMethod                // the method does not exist in this revision
	Stranger                // the caller's credential is no good
	Forbidden               // the caller may not do this
	Limited                 // the caller does too much: RetryAfter says when to come again
	GivenUp                 // the client did not wait
)

// awayRetry is when to come again if the gateway has no daemon: it looks for one about as
// often.
const awayRetry = 5 * time.Second

// Refusal is an error of this package, put for a client.
type Refusal struct {
	Reason     Reason
	Code       int // of JSON-RPC
	Text       string
	RetryAfter time.Duration // with Busy, Away and Limited; 0: not known
}

// Data is the data of a JSON-RPC error, for transports that have no other place for
// when to come again; nil if there is nothing to say.
func (r Refusal) Data() []byte {
	if r.RetryAfter <= 0 {
		return nil
	}
	return []byte(`{"mcpgateway/retryAfterMs":` + strconv.FormatInt(r.RetryAfter.Milliseconds()+1, 10) + "}")
}

// ForbiddenError says that the policy does not let a caller do something at a server
// that it may use. What does not exist is refused alike.
type ForbiddenError struct {
	Subject, Server string
	What            string // such as: tool "delete"
}

func (e *ForbiddenError) Error() string {
	return fmt.Sprintf("%s of server %q is not permitted to %s", e.What, e.Server, e.Subject)
}

// RefusalOf puts an error for a client. It names nothing that a client may not
// know.
func RefusalOf(err error) Refusal {
	if r, ok := policyRefusal(err); ok {
		return r
	}
	var session *SessionError
	var method *MethodError
	var disguised *DisguisedError
	var daemon *control.Error
	switch {
	case errors.As(err, &disguised):
		return Refusal{Reason: Forbidden, Code: mcp.CodeInvalidRequest, Text: err.Error()}
	case errors.As(err, &session):
		return Refusal{Reason: Gone, Code: mcp.CodeInvalidRequest, Text: err.Error()}
	case errors.Is(err, ErrNoSession):
		return Refusal{Reason: Unopened, Code: mcp.CodeInvalidRequest, Text: err.Error()}
	case errors.Is(err, ErrListening):
		return Refusal{Reason: Conflict, Code: mcp.CodeInvalidRequest, Text: err.Error()}
	case errors.As(err, &method):
		return Refusal{Reason: NoMethod, Code: mcp.CodeMethodNotFound, Text: err.Error()}
	case errors.Is(err, ErrSessionLimit), errors.Is(err, link.ErrBusy),
		errors.As(err, &daemon) && daemon.Code == control.CodeLimit:
		return Refusal{Reason: Busy, Code: mcp.CodeInternal, Text: err.Error()}
	case errors.Is(err, control.ErrClosed):
		return Refusal{Reason: Away, Code: mcp.CodeInternal, Text: err.Error(), RetryAfter: awayRetry}
	case errors.Is(err, context.Canceled):
		return Refusal{Reason: GivenUp, Code: mcp.CodeInternal, Text: "the request was given up"}
	}
	return Refusal{Reason: Failed, Code: mcp.CodeInternal, Text: err.Error()}
}

// policyRefusal puts the errors of what the policy refuses.
func policyRefusal(err error) (Refusal, bool) {
	var denied *policy.DeniedError
	var forbidden *ForbiddenError
	var credential *authn.Error
	var limit *ratelimit.Error
	var open *breaker.OpenError
	var loop *breaker.LoopError
	var stopped *fleet.StoppedError
	var pinned *pins.BlockedError
	var used *quota.Error
	switch {
	case errors.As(err, &denied):
		return Refusal{Reason: Unknown, Code: mcp.CodeInvalidRequest, Text: fmt.Sprintf("there is no %s", denied.Scope)}, true
	case errors.As(err, &forbidden), errors.As(err, &pinned):
		return Refusal{Reason: Forbidden, Code: mcp.CodeInvalidRequest, Text: err.Error()}, true
	case errors.As(err, &credential):
		return credentialRefusal(credential), true
	case errors.As(err, &limit):
		return Refusal{Reason: Limited, Code: mcp.CodeInternal, Text: err.Error(), RetryAfter: limit.RetryAfter}, true
	case errors.As(err, &used):
		return Refusal{Reason: Limited, Code: mcp.CodeInternal, Text: err.Error(), RetryAfter: used.RetryAfter()}, true
	case errors.Is(err, quota.ErrUnknown):
		return Refusal{Reason: Busy, Code: mcp.CodeInternal, Text: err.Error()}, true
	case errors.As(err, &open):
		return Refusal{Reason: Busy, Code: mcp.CodeInternal, Text: err.Error(), RetryAfter: time.Until(open.Until)}, true
	case errors.As(err, &loop), errors.As(err, &stopped):
		return Refusal{Reason: Busy, Code: mcp.CodeInternal, Text: err.Error()}, true
	case errors.Is(err, audit.ErrBlocked):
		return Refusal{Reason: Busy, Code: mcp.CodeInternal, Text: "the audit log can't be written, and without it no call is made: try again later"}, true
	}
	return Refusal{}, false
}

func credentialRefusal(e *authn.Error) Refusal {
	r := Refusal{Reason: Stranger, Code: mcp.CodeInvalidRequest, Text: e.Text, RetryAfter: e.RetryAfter}
	switch e.Kind {
	case authn.Scope:
		r.Reason = Forbidden
	case authn.Throttled:
		r.Reason = Limited
	case authn.Unavailable:
		r.Reason, r.Code = Busy, mcp.CodeInternal
	case authn.NoCredential, authn.Invalid, authn.Expired:
	}
	return r
}
