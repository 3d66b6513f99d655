// Package telemetry is what the gateway tells of its work, as data: each call at a
// server, each refusal at the door, each step that a call waits for. Who counts, traces
// and bills them is told by the gate, and is in packages of its own.
//
// Runs in: proxy.
package telemetry

import (
	"context"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/mcp"
	"mcpgateway/runtime/control"
)

// Call is one request at one server, for one caller. Requests that a server is asked
// again because its instance has ended are one call.
type Call struct {
	Correlation string // of the client's message, as in logs, in the audit log and in its answer's header
	Transport   string // that it came by; "" for what the gateway asks on a caller's behalf
	Caller      *policy.Identity
	Project     string
	Server      string // "" for the initialize of a session with many
	Method      string
	Tool        string // of a tools/call, as its server names it
	Listed      bool   // the server has listed that tool; anybody can make up others
	Name        string // of the tool, prompt or resource
	Revision    string // of the protocol that the client speaks, if it is known
	Trace       string // the traceparent header of the request that brought it, as it came: anything
	Started     time.Time
	For         *Cause // of what the gateway asks by itself; nil if there is none, or the call is a client's
	// Request is what goes to the server. Begin may replace it by one that differs in
	// params._meta alone.
	Request mcp.Message

	// What is known at its end:

	Refused  bool      // it was not passed on
	Status   string    // as in the audit log: "ok", "tool-error", "error -32603", "timeout", "ended", "cancelled", "forbidden", …
	Reason   string    // for people; may hold what a server wrote
	Instance string    // the sandbox that served it; "" for none
	Passed   time.Time // when it was first passed on to an instance; zero if it was not
	Duration time.Duration
	BytesIn  int64 // of the request, as it came
	BytesOut int64 // of all that came back
}

// Cause is a client's message for which the gateway has to ask a server something first.
type Cause struct {
	Correlation string
	Trace       string      // as in Call
	Message     mcp.Message // of kind Invalid, if it came as something else
}

// Good reports whether a call did what it was to do, as its client sees it. What
// clients give up is neither.
func (c *Call) Good() bool { return c.Status == "ok" }

// Fault reports whether a call failed by no fault of its client: its server ended, was
// late, did not start or did not take it. Errors that a server answers with are its
// client's matter, but for its internal ones (-32603).
func (c *Call) Fault() bool {
	switch c.Status {
	case "ended", "timeout", "failed", "busy", "error -32603":
		return true
	}
	return false
}

// Observer is told of calls. Its methods are called concurrently and must not wait.
type Observer interface {
	// Begin is told of a call that came to its server's guard, before anything is
	// decided. What is done for the call is done under the context that it returns.
	Begin(ctx context.Context, c *Call) context.Context
	// End is told once of each call that began, when it is over. The call is not
	// changed any more, and its request is not to be kept.
	End(ctx context.Context, c *Call)
}

// Refusal is a client that was turned away at the door, before any server was asked.
type Refusal struct {
	Correlation string // as of Call
	Transport   string
	Reason      string // as Call.Status: "unauthenticated", "limited", "busy", "unknown", "forbidden", …
	Scope       policy.Scope
}

// Doorkeeper is an Observer that is told of refusals at the door, too.
type Doorkeeper interface {
	Refused(r Refusal)
}

// Watcher is told of what runs, by the daemon's count.
type Watcher interface {
	// Sample is told every few seconds of all sandboxes that run.
	Sample(now time.Time, running []control.Sandbox)
	// Ended is told of each one that ended, with what it used in all.
	Ended(exit control.Exit)
}

// Steps makes what a call waits for visible: the start of a sandbox, a queue.
type Steps interface {
	// Step begins one and returns a function that ends it.
	Step(ctx context.Context, name string, attributes ...string) func(error)
}

type stepsKey struct{}

// WithSteps has Step tell of what is done under the context that it returns.
func WithSteps(ctx context.Context, s Steps) context.Context {
	return context.WithValue(ctx, stepsKey{}, s)
}

// Step tells that something begins which the call of ctx waits for. attributes are keys
// and values. The function that it returns must be called when it is over.
func Step(ctx context.Context, name string, attributes ...string) (end func(error)) {
	if s, ok := ctx.Value(stepsKey{}).(Steps); ok {
		return s.Step(ctx, name, attributes...)
	}
	return func(error) {}
}
