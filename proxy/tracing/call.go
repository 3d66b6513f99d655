package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"mcpgateway/proxy/telemetry"
)

// call is a call that has spans.
type call struct {
	tracer trace.Tracer
	server trace.Span   // of the client's call of the gateway
	client trace.SpanID // of the gateway's call of its server, which is made at its end
}

type callKey struct{}

// Begin begins the span of a call, and has its server learn of it. A call that is not
// sampled is passed on as it came.
func (t *Tracer) Begin(ctx context.Context, c *telemetry.Call) context.Context {
	tracer := t.tracer.Load()
	if tracer == nil {
		return ctx
	}
	in := placeOf(c)
	if in.nowhere {
		return ctx
	}
	parent := withIDs(context.Background(), given{correlation: in.correlation})
	if outer, inside := ctx.Value(callKey{}).(*call); inside {
		if outer == nil {
			return ctx
		}
		parent, in.kind = trace.ContextWithSpanContext(parent, outer.server.SpanContext()), trace.SpanKindInternal
	} else if in.parent.IsValid() {
		parent = trace.ContextWithRemoteSpanContext(parent, in.parent)
	}
	_, span := (*tracer).Start(parent, clean(c.Method, maxName), trace.WithSpanKind(in.kind), trace.WithTimestamp(c.Started), linked(in.header))
	if !span.IsRecording() {
		return context.WithValue(ctx, callKey{}, (*call)(nil))
	}
	begun := &call{tracer: *tracer, server: span, client: newSpanID()}
	c.Request = pass(c.Request, span.SpanContext().WithSpanID(begun.client))
	return telemetry.WithSteps(context.WithValue(ctx, callKey{}, begun), begun)
}

// place is where the span of a call belongs, by what its client sent.
type place struct {
	nowhere     bool // the gateway asks for itself
	kind        trace.SpanKind
	correlation string
	parent      trace.SpanContext
	header      string
}

func placeOf(c *telemetry.Call) place {
	switch cause := c.For; {
	case cause != nil: // beside the call that it is asked for
		return place{kind: trace.SpanKindInternal, correlation: cause.Correlation, parent: parentOf(cause.Message), header: cause.Trace}
	case c.Transport == "" && c.Correlation == "":
		return place{nowhere: true}
	}
	return place{kind: trace.SpanKindServer, correlation: c.Correlation, parent: parentOf(c.Request), header: c.Trace}
}

// linked names the span of the request that a call came by. It is no parent: one may
// carry many calls, and one call come by many.
func linked(header string) trace.SpanStartOption {
	if of := parse(header, ""); of.IsValid() {
		return trace.WithLinks(trace.Link{SpanContext: of})
	}
	return trace.WithLinks()
}

// End ends the span of a call, and makes that of what its server did.
func (t *Tracer) End(ctx context.Context, c *telemetry.Call) {
	begun, _ := ctx.Value(callKey{}).(*call)
	if begun == nil {
		return
	}
	over := c.Started.Add(c.Duration)
	if !c.Passed.IsZero() {
		inside := withIDs(begun.inside(), given{span: begun.client})
		_, span := begun.tracer.Start(inside, name(c), trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(c.Passed))
		span.SetAttributes(toServer(c)...)
		finish(span, c, over)
	}
	begun.server.SetName(name(c))
	begun.server.SetAttributes(fromClient(c)...)
	finish(begun.server, c, over)
}

func finish(span trace.Span, c *telemetry.Call, over time.Time) {
	if failure := errorType(c); failure != "" {
		span.SetStatus(codes.Error, description(c))
	}
	span.End(trace.WithTimestamp(over))
}

// inside is the context of what is done for a call.
func (c *call) inside() context.Context {
	return trace.ContextWithSpanContext(context.Background(), c.server.SpanContext())
}

// Step makes a span of what the call waits for: a telemetry.Steps. It may be over after
// the call.
func (c *call) Step(_ context.Context, name string, attributes ...string) func(error) {
	_, span := c.tracer.Start(c.inside(), name)
	for i := 0; i+1 < len(attributes); i += 2 {
		span.SetAttributes(attribute.String(own+attributes[i], clean(attributes[i+1], maxText)))
	}
	return func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, clean(err.Error(), maxText))
		}
		span.End()
	}
}
