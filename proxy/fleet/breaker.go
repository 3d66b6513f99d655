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

// resting is why no instance is started at a place now; nil if one may be, perhaps after
// a little while.
func (f *Fleet) resting(at breaker.Place, spec *Spec) error {
	if err := f.pool.Barred(spec.Server); err != nil {
		return err
	}
	if _, err := f.restarts.Wait(at, spec.Restart, spec.Revision); err != nil {
		return err
	}
	if spec.Breaker == nil {
		return nil
	}
	return f.breakers.Refusal(at)
}

// usableLocked are the replicas of a shared server that need not be waited for; all, if there
// is none. f.mu must be held.
func (f *Fleet) usableLocked(spec *Spec) []int {
	var usable, all []int
	for i := range spec.Replicas {
		all = append(all, i)
		at := breaker.Place{Server: spec.Server, Instance: replicaKey(i)}
		f.noticeLocked(f.slots[key{server: spec.Server, owner: replicaKey(i)}], spec)
		if wait, _ := f.restarts.Wait(at, spec.Restart, spec.Revision); wait == 0 && f.resting(at, spec) == nil {
			usable = append(usable, i)
		}
	}
	if len(usable) == 0 {
		return all
	}
	return usable
}

// failed counts a start that failed, unless that was no fault of the server.
func (f *Fleet) failed(at breaker.Place, spec *Spec, err error) {
	if f.ctx.Err() != nil || !blames(err) {
		return
	}
	f.breakers.Failed(at, spec.Breaker, err)
	f.restarts.Failed(at, spec.Restart, f.newest(spec).Revision, err)
}

// blames reports whether a start failed by a fault of the server.
func blames(err error) bool {
	var daemon *control.Error
	var changed *backend.ChangedError
	var lost *backend.LostError
	var stopped *StoppedError
	var open *breaker.OpenError
	var loop *breaker.LoopError
	switch {
	case errors.Is(err, link.ErrBusy), errors.Is(err, control.ErrClosed), errors.As(err, &daemon) && daemon.Code == control.CodeLimit:
		return false
	case errors.As(err, &changed), errors.As(err, &lost), errors.As(err, &stopped), errors.As(err, &open), errors.As(err, &loop):
		return false
	}
	return true
}

// through passes a request on to an instance, if the breaker of its place lets it.
func (r *route) through(ctx context.Context, to *instance, request mcp.Message) (link.Call, error) {
	return r.fleet.judged(ctx, to.place, r.spec.Breaker, to.conn.Ended(), request, func() (link.Call, error) {
		return to.server.Do(ctx, r.named, request)
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
