package gate

import (
	"context"
	"errors"
	"fmt"

	"mcpgateway/policy"
	"mcpgateway/proxy/breaker"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/runtime/control"
)

// Reason is why there is no call, in a word that every transport has its own
// status for.
type Reason int

// The reasons of a Refusal.
const (
	Failed   Reason = iota // something happened to the server: an answer inside the protocol
	Unknown                // no such server or project, for this caller
	Gone                   // no such session, or no more
	Unopened               // the request needs a session
	Conflict               // somebody listens already
	Busy                   // try again later
	NoMethod               // the method does not exist in this revision
	GivenUp                // the client did not wait
)

// Refusal is an error of this package, put for a client.
type Refusal struct {
	Reason Reason
	Code   int // of JSON-RPC
	Text   string
}

// RefusalOf puts an error for a client. It names nothing that a client may not
// know.
func RefusalOf(err error) Refusal {
	var denied *policy.DeniedError
	var session *SessionError
	var method *MethodError
	var daemon *control.Error
	var open *breaker.OpenError
	switch {
	case errors.As(err, &denied):
		return Refusal{Unknown, mcp.CodeInvalidRequest, fmt.Sprintf("there is no %s", denied.Scope)}
	case errors.As(err, &session):
		return Refusal{Gone, mcp.CodeInvalidRequest, err.Error()}
	case errors.Is(err, ErrNoSession):
		return Refusal{Unopened, mcp.CodeInvalidRequest, err.Error()}
	case errors.Is(err, ErrListening):
		return Refusal{Conflict, mcp.CodeInvalidRequest, err.Error()}
	case errors.As(err, &method):
		return Refusal{NoMethod, mcp.CodeMethodNotFound, err.Error()}
	case errors.Is(err, ErrSessionLimit), errors.Is(err, link.ErrBusy), errors.As(err, &open),
		errors.As(err, &daemon) && daemon.Code == control.CodeLimit:
		return Refusal{Busy, mcp.CodeInternal, err.Error()}
	case errors.Is(err, context.Canceled):
		return Refusal{GivenUp, mcp.CodeInternal, "the request was given up"}
	}
	return Refusal{Failed, mcp.CodeInternal, err.Error()}
}
