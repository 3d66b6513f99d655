package authn

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what became of a request's credential.
type Kind int

// The kinds of errors, and the HTTP status that each is.
const (
	NoCredential Kind = iota // 401: none was sent
	Invalid                  // 401
	Expired                  // 401
	Scope                    // 403: good, but without a scope that is needed
	Throttled                // 429: too many failures from this source; it was not looked at
	Unavailable              // 503: it can't be judged now
)

// Status is the HTTP status of the kind.
func (k Kind) Status() int {
	return [...]int{NoCredential: 401, Invalid: 401, Expired: 401, Scope: 403, Throttled: 429, Unavailable: 503}[k]
}

// Error says why a request was not let in. It quotes no credential.
type Error struct {
	Kind       Kind
	Text       string
	RetryAfter time.Duration // of Throttled and Unavailable
	Scopes     []string      // of Scope: all that are needed
}

func (e *Error) Error() string { return e.Text }

// Is makes an error one of its kind: errors.Is(err, &Error{Kind: Expired}).
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Text == "" && other.Kind == e.Kind
}

func invalid(format string, args ...any) *Error {
	return &Error{Kind: Invalid, Text: fmt.Sprintf(format, args...)}
}

// as makes an Error of any.
func as(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Kind: Invalid, Text: err.Error()}
}
