package link

import (
	"context"
	"time"
)

// Watcher is told which instance serves a request. It may be told more than once, of a
// request that is made again, and after the end.
type Watcher interface {
	ServedBy(instance string, at time.Time)
}

type watcherKey struct{}

// WithWatcher has a watcher be told of the requests that are passed on under ctx.
func WithWatcher(ctx context.Context, w Watcher) context.Context {
	return context.WithValue(ctx, watcherKey{}, w)
}

// Serve tells the watcher of ctx, if there is one, of the instance that a request goes to.
func Serve(ctx context.Context, instance string, at time.Time) {
	if w, ok := ctx.Value(watcherKey{}).(Watcher); ok {
		w.ServedBy(instance, at)
	}
}
