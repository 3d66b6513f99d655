package bridge

import (
	"cmp"
	"context"
	"sync"
)

// until is a context that ends with another one, too, or when it is told to. Only when
// somebody wants to know of the end it is made what does: most requests are taken at once.
type until struct {
	context.Context
	while context.Context //nolint:containedctx // it is a context itself

	mu     sync.Mutex
	over   bool
	both   context.Context //nolint:containedctx // as while; nil until somebody wants to know
	cancel context.CancelCauseFunc
	stop   func() bool
}

// Done is closed when either has ended, or end was called, which must be.
func (u *until) Done() <-chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.makeLocked()
	return u.both.Done()
}

func (u *until) makeLocked() {
	if u.both != nil {
		return
	}
	u.both, u.cancel = context.WithCancelCause(u.Context)
	if u.over {
		u.cancel(nil)
		return
	}
	u.stop = context.AfterFunc(u.while, func() { u.cancel(context.Cause(u.while)) })
}

func (u *until) Err() error {
	both, over := u.made()
	switch {
	case both != nil:
		return both.Err()
	case over:
		return context.Canceled
	}
	return cmp.Or(u.Context.Err(), u.while.Err())
}

// Value is that of the request's context, by which the cause of the end is found, too.
func (u *until) Value(key any) any {
	if both, _ := u.made(); both != nil {
		return both.Value(key)
	}
	return u.Context.Value(key)
}

func (u *until) made() (both context.Context, over bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.both, u.over
}

// end ends it for a cause; nil: nobody waits any more.
func (u *until) end(cause error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.over {
		return
	}
	if cause != nil {
		u.makeLocked() // somebody may ask for it
	}
	u.over = true
	if u.both != nil {
		u.stop()
		u.cancel(cause)
	}
}
