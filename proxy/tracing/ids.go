package tracing

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"hash/maphash"

	"go.opentelemetry.io/otel/trace"
)

// ids makes the ids of spans and traces. They are no secrets.
type ids struct{ high, low maphash.Seed }

func newIDs() ids { return ids{maphash.MakeSeed(), maphash.MakeSeed()} }

// given is what a new span's ids are to be.
type given struct {
	correlation string       // of the message that begins a trace: several calls of one are one trace
	span        trace.SpanID // zero: a new one
}

type givenKey struct{}

func withIDs(ctx context.Context, g given) context.Context {
	return context.WithValue(ctx, givenKey{}, g)
}

// NewIDs returns the ids of a span that begins a trace.
func (i ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	var id trace.TraceID
	g, _ := ctx.Value(givenKey{}).(given)
	if g.correlation == "" {
		_, _ = rand.Read(id[:]) // does not fail
		return id, newSpanID()
	}
	binary.NativeEndian.PutUint64(id[:8], maphash.String(i.high, g.correlation))
	binary.NativeEndian.PutUint64(id[8:], maphash.String(i.low, g.correlation)|1) // not all zero, which is none
	return id, newSpanID()
}

// NewSpanID returns the id of a span in a trace that there is.
func (ids) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	if g, _ := ctx.Value(givenKey{}).(given); g.span.IsValid() {
		return g.span
	}
	return newSpanID()
}

func newSpanID() (id trace.SpanID) {
	for !id.IsValid() {
		_, _ = rand.Read(id[:]) // does not fail
	}
	return id
}
