package main

import (
	"errors"
	"fmt"
	"strings"
)

// The exit statuses, which scripts rely on (docs/cli.md). A verb whose answer can be
// "no" says in its help what its statuses mean.
const (
	statusOK    = 0
	statusError = 1 // it did not work, or (audit verify, check, profile audit, policy) the answer is no
	statusUsage = 2 // the command was not understood, or (tools, doctor) the answer is no
)

// errReported ends the program with status 1 after everything was said.
var errReported = errors.New("reported")

// exitError ends the program with a status of its own after everything was said.
type exitError struct{ status int }

func (e *exitError) Error() string { return fmt.Sprintf("status %d", e.status) }

// errFinding ends the program with status 2 after everything was said: the answer is no.
var errFinding = &exitError{statusUsage}

// unusable is an error of what was asked, not of the answer: status 2.
type unusable struct{ error }

func (u unusable) Unwrap() error { return u.error }

func isUnusable(err error) bool {
	var u unusable
	return errors.As(err, &u)
}

// misused says that a verb was called in a way that it does not take.
func misused(format string, args ...any) error { return unusable{fmt.Errorf(format, args...)} }

// exitStatus is the status for what a verb came to, and the line that is still to be
// said, if any.
func exitStatus(err error) (status int, line string) {
	var own *exitError
	switch {
	case err == nil:
		return statusOK, ""
	case errors.As(err, &own):
		return own.status, ""
	case errors.Is(err, errReported):
		return statusError, ""
	case isUnusable(err):
		return statusUsage, strings.TrimSpace(err.Error())
	}
	return statusError, err.Error()
}
