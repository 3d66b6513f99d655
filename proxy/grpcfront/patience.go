package grpcfront

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"mcpgateway/policy"
)

// chunk is how much a client must take within the time for a write.
const chunk = 64 << 10

// writes are those of one stream. gRPC lets nobody give up a write but by ending
// the stream.
type writes struct {
	wait time.Duration
	last int           // bytes of the write before: it may still be on its way
	late chan struct{} // gets a value when a write takes too long
}

// do runs one write of so many bytes.
func (w *writes) do(size int, write func() error) error {
	limit := w.wait * time.Duration(1+(w.last+size)/chunk)
	w.last = size
	timer := time.AfterFunc(limit, func() {
		select {
		case w.late <- struct{}{}:
		default: // the stream is given up already
		}
	})
	defer timer.Stop()
	return write()
}

// patient runs what writes to a stream, and ends the stream when a write takes too
// long, or with what over gives. A body that is stuck ends with its stream.
func (f *Front) patient(body func(*writes) error, over <-chan error) error {
	w := &writes{wait: f.times.write, late: make(chan struct{}, 1)}
	done := make(chan error, 1)
	f.running.Go(func() {
		var err error
		defer func() { done <- err }()
		defer f.contain(&err)
		err = body(w)
	})
	select {
	case err := <-done:
		return err
	case err := <-over:
		return err
	case <-w.late:
		return status.Error(codes.ResourceExhausted, "the client does not read what it is sent")
	}
}

// watch gives an error when a stream may not go on: its key is no longer good for
// it, or the gateway stops.
func (f *Front) watch(ctx context.Context, scope policy.Scope) <-chan error {
	a := admittedOf(ctx)
	over := make(chan error, 1)
	f.running.Go(func() {
		beat := time.NewTicker(f.times.beat)
		defer beat.Stop()
		for {
			select {
			case <-beat.C:
				if !f.stillAllowed(a, scope) {
					over <- status.Error(codes.Unauthenticated, "the key is no longer valid for this scope")
					return
				}
			case <-f.closing:
				over <- status.Error(codes.Unavailable, "the gateway is stopping")
				return
			case <-ctx.Done():
				return
			}
		}
	})
	return over
}
