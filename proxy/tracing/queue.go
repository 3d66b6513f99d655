package tracing

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// How spans are sent. Those of a call are at most a few kilobytes.
const (
	maxQueue  = 4096             // spans that wait; more are lost
	maxBatch  = 512              // spans that are sent at once
	batchWait = 2 * time.Second  // for a batch to fill
	sendWait  = 30 * time.Second // for a batch to be taken, again and again
	flushWait = 5 * time.Second  // for all that is left at the end
	tellEvery = time.Minute      // at most, of what is lost
)

// queue holds the spans that have ended until they are sent: an sdktrace.SpanProcessor.
// The SDK's own does not tell how many it lost, and reads environment variables.
type queue struct {
	spans    chan sdktrace.ReadOnlySpan
	lost     atomic.Int64 // spans for which there was no room
	receiver atomic.Pointer[receiver]
}

func newQueue() *queue { return &queue{spans: make(chan sdktrace.ReadOnlySpan, maxQueue)} }

// OnStart does nothing.
func (*queue) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd takes a span if there is room for it. It does not wait.
func (q *queue) OnEnd(span sdktrace.ReadOnlySpan) {
	if !span.SpanContext().IsSampled() {
		return
	}
	select {
	case q.spans <- span:
	default:
		q.lost.Add(1)
	}
}

// Shutdown does nothing: the queue outlives the providers that use it.
func (*queue) Shutdown(context.Context) error { return nil }

// ForceFlush does nothing.
func (*queue) ForceFlush(context.Context) error { return nil }

// sender sends what a queue holds. One goroutine uses it.
type sender struct {
	*queue
	log   *slog.Logger
	to    *receiver // nil: spans are thrown away
	batch []sdktrace.ReadOnlySpan
	lost  int64 // that were not taken
	err   error // why, the last time
	told  time.Time
}

// run sends until ctx ends, and then what is left.
func (q *queue) run(ctx context.Context, log *slog.Logger) {
	sending, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	stopped := context.AfterFunc(ctx, func() { time.AfterFunc(flushWait, end) })
	defer stopped()
	s := &sender{queue: q, log: log, to: q.receiver.Load()}
	for s.fill(ctx) {
		s.follow(sending)
		s.send(sending)
		s.tell()
	}
	s.follow(sending)
	s.drain(sending)
	s.to.close()
	s.told = time.Time{}
	s.tell()
}

// fill waits for a batch, or for some time, and reports whether there may be more.
func (s *sender) fill(ctx context.Context) bool {
	wait := time.NewTimer(batchWait)
	defer wait.Stop()
	for len(s.batch) < maxBatch {
		select {
		case span := <-s.spans:
			s.batch = append(s.batch, span)
		case <-wait.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// drain sends all that is there.
func (s *sender) drain(ctx context.Context) {
	for {
		select {
		case span := <-s.spans:
			if s.batch = append(s.batch, span); len(s.batch) < maxBatch {
				continue
			}
		default:
			s.send(ctx)
			return
		}
		s.send(ctx)
	}
}

// send sends the batch and forgets it.
func (s *sender) send(ctx context.Context) {
	if s.to != nil && len(s.batch) > 0 {
		ctx, cancel := context.WithTimeout(ctx, sendWait)
		defer cancel()
		if err := s.to.send(ctx, s.batch); err != nil {
			s.lost += int64(len(s.batch))
			s.err = err
		}
	}
	clear(s.batch)
	s.batch = s.batch[:0]
}

// follow goes on with the receiver of the settings in force, if there is another. The
// one before gets what was meant for it.
func (s *sender) follow(ctx context.Context) {
	next := s.receiver.Load()
	if next == s.to {
		return
	}
	if s.to != nil {
		ctx, cancel := context.WithTimeout(ctx, flushWait)
		defer cancel()
		s.drain(ctx)
		s.to.close()
	}
	s.to = next
}

// tell logs what was lost, once in a while.
func (s *sender) tell() {
	if time.Since(s.told) < tellEvery {
		return
	}
	full := s.queue.lost.Swap(0)
	if full == 0 && s.lost == 0 {
		return
	}
	s.log.Warn("spans were lost: the receiver of traces takes none, or not fast enough", "refused", s.lost, "no_room", full, "err", s.err)
	s.told, s.lost, s.err = time.Now(), 0, nil
}
