// Package retry makes a request again when the instance that served it has ended or
// could not be had, if nothing can have changed by it. It never repeats what may have
// had an effect, and never after a time-out: a server that is slow is not helped by
// more of the same.
//
// Runs in: proxy.
package retry

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"

	"mcpgateway/policy"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/runtime/control"
)

// Spec is how often, and for how long, a request is made.
type Spec struct {
	policy.Retry
	// Limit is the longest that all attempts may take before another is made, > 0: the
	// longest wait for an answer to the request.
	Limit time.Duration
	// Log and Server are where, and of which server, further attempts are told; nil:
	// nowhere.
	Log    *slog.Logger
	Server string
	// Idempotent says that the tool which is called changes nothing, or nothing more the
	// second time, by its own word.
	Idempotent bool
}

// Do passes a request on to a server of the stateless era as link.Server.Do does, and,
// if it may be made again, again: first under ctx while there is no call, and later
// until the call ends. Progress and logs of an attempt that fails stay said; progress of
// the next one is passed on from there.
func Do(ctx context.Context, server link.Server, request mcp.Message, spec Spec) (link.Call, error) {
	if spec.Attempts < 2 || !Repeatable(request, spec.Idempotent) {
		return server.Do(ctx, request)
	}
	a := &attempts{server: server, request: request, spec: spec, left: spec.Attempts, until: time.Now().Add(spec.Limit), waits: waits(spec.Retry)}
	first, err := a.do(ctx)
	if err != nil {
		return nil, err
	}
	return start(ctx, a, first), nil
}

// Repeatable reports whether a request may be made twice. idempotent is about the tool
// that it calls. A request that answers what the server asked, or that begins a task,
// is made once: the state that it goes on from is used up.
func Repeatable(request mcp.Message, idempotent bool) bool {
	switch request.Method() {
	case mcp.MethodToolsList, mcp.MethodPromptsList, mcp.MethodResourcesList, mcp.MethodTemplatesList,
		mcp.MethodResourcesRead, mcp.MethodPromptsGet, mcp.MethodComplete, mcp.MethodDiscover, mcp.MethodPing:
	case mcp.MethodToolsCall:
		if !idempotent {
			return false
		}
	default:
		return false
	}
	for _, member := range []string{"requestState", "inputResponses", "task"} {
		if !request.Param(member).Empty() {
			return false
		}
	}
	return true
}

// attempts are what is left of them. One goroutine at a time has them.
type attempts struct {
	server  link.Server
	request mcp.Message
	spec    Spec
	left    int
	until   time.Time
	waits   backoff.BackOff
}

// waits gives the times between attempts: twice as long each time, and half more or
// less by chance, so that not all callers of an instance come back at once.
func waits(by policy.Retry) backoff.BackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval: by.Backoff, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: max(by.MaxBackoff, by.Backoff),
	}
}

// do makes attempts until there is a call, or none are left.
func (a *attempts) do(ctx context.Context) (link.Call, error) {
	for {
		a.left--
		call, err := a.server.Do(ctx, a.request)
		if err == nil || !unreached(err) || !a.wait(ctx, err.Error()) {
			return call, err
		}
	}
}

// unreached reports whether an error says that there was no instance to take the
// request.
func unreached(err error) bool {
	var ended *link.EndedError
	var daemon *control.Error
	return errors.As(err, &ended) || errors.As(err, &daemon) && daemon.Code == control.CodeLimit
}

// wait waits before the next attempt; false if there is none. why is what the one
// before failed with.
func (a *attempts) wait(ctx context.Context, why string) bool {
	wait := a.waits.NextBackOff()
	if a.left == 0 || time.Now().Add(wait).After(a.until) {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		a.tell(ctx, why)
		return true
	case <-ctx.Done():
		return false
	}
}

func (a *attempts) tell(ctx context.Context, why string) {
	if a.spec.Log != nil {
		a.spec.Log.InfoContext(ctx, "request is made again", "server", a.spec.Server, "method", a.request.Method(), "after", why)
	}
}
