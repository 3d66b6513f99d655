package fleet

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/breaker"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/runtime/control"
)

// placeOf is whose breaker a slot's instance is judged by. All that one caller has of a
// server is one place: a crash ends a session, and the next one must know of it.
func placeOf(k key, subject string) breaker.Place {
	if strings.HasPrefix(k.owner, "replica:") {
		return breaker.Place{Server: k.server, Instance: k.owner}
	}
	return placeOfCaller(k.server, subject)
}

func placeOfCaller(server, subject string) breaker.Place {
	return breaker.Place{Server: server, Instance: "identity:" + subject}
}

// resting is why no instance is started at a place now; nil if one may be.
func (f *Fleet) resting(at breaker.Place, spec Spec) error {
	if spec.Breaker == nil {
		return nil
	}
	return f.breakers.Refusal(at)
}

// usable are the replicas of a shared server whose breakers let requests through; all,
// if there is none.
func (f *Fleet) usable(spec Spec) []int {
	var usable, all []int
	for i := range spec.Replicas {
		all = append(all, i)
		if f.resting(breaker.Place{Server: spec.Server, Instance: replicaKey(i)}, spec) == nil {
			usable = append(usable, i)
		}
	}
	if len(usable) == 0 {
		return all
	}
	return usable
}

// failed counts a start that failed, unless that was no fault of the server.
func (f *Fleet) failed(at breaker.Place, spec Spec, err error) {
	var daemon *control.Error
	var changed *backend.ChangedError
	busy := errors.Is(err, link.ErrBusy) || errors.As(err, &changed) || errors.As(err, &daemon) && daemon.Code == control.CodeLimit
	if busy || errors.Is(err, control.ErrClosed) || f.ctx.Err() != nil {
		return
	}
	f.breakers.Failed(at, spec.Breaker, err)
}

// through passes a request on to an instance, if the breaker of its place lets it.
func (r *route) through(ctx context.Context, to *instance, request mcp.Message) (link.Call, error) {
	return r.fleet.judged(ctx, to.place, r.spec.Breaker, &to.ended, request, func() (link.Call, error) {
		return to.server.Do(ctx, r.owner.String(), request)
	})
}

// judged makes a call and has the breaker of its place know of its end. ended is
// whether the end of the instance was counted.
func (f *Fleet) judged(ctx context.Context, at breaker.Place, by *policy.Breaker, ended *atomic.Bool, request mcp.Message, do func() (link.Call, error)) (link.Call, error) {
	pass, err := f.breakers.Enter(at, by)
	if err != nil {
		return nil, err
	}
	call, err := do()
	if err == nil && request.Method() != mcp.MethodListen {
		return pass.Watch(call, ended), nil
	}
	// An instance that has ended before, perhaps because nobody used it, is no failure
	// of this request; one that does not read its input is.
	var gone *link.EndedError
	if err == nil || ctx.Err() != nil || errors.As(err, &gone) || errors.Is(err, link.ErrBusy) {
		pass.Drop()
	} else {
		pass.Fail(err.Error())
	}
	return call, err
}

// Open starts an instance for one session of the handshake era of a caller and passes
// the client's initialize to it as it is. The session is nil if the server refused. ok
// is false if the server's instances are not for one session each, or if it does
// not speak this era: then the session needs a translation, over Server.
func (f *Fleet) Open(ctx context.Context, spec Spec, subject string, initialize mcp.Message) (opened link.Session, answer mcp.Message, ok bool, err error) {
	at := placeOfCaller(spec.Server, subject)
	if err := f.resting(at, spec); err != nil {
		return nil, mcp.Message{}, true, err
	}
	direct, answer, ok, err := f.direct(ctx, spec, initialize)
	if err != nil {
		if ctx.Err() == nil {
			f.failed(at, spec, err)
		}
		return nil, answer, ok, err
	}
	s := &session{Session: direct, fleet: f, place: at, by: spec.Breaker}
	// A handshake that succeeds says nothing: a server that ends with every call does too.
	if answer.Failure() != "" {
		if pass, err := f.breakers.Enter(at, spec.Breaker); err == nil {
			pass.Answered(answer, &s.ended)
		}
	}
	if direct == nil {
		return nil, answer, ok, nil
	}
	return s, answer, true, nil
}

// session is a session whose calls are judged by a breaker.
type session struct {
	link.Session
	fleet *Fleet
	place breaker.Place
	by    *policy.Breaker
	ended atomic.Bool
}

// Call passes a request on.
func (s *session) Call(ctx context.Context, request mcp.Message) (link.Call, error) {
	return s.fleet.judged(ctx, s.place, s.by, &s.ended, request, func() (link.Call, error) { return s.Session.Call(ctx, request) })
}
