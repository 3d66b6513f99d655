package tracing

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"mcpgateway/proxy/mcp"
)

// The members of _meta, and the headers, that carry a context (W3C Trace Context;
// SEP-414 for MCP).
const (
	traceparent = "traceparent"
	tracestate  = "tracestate"
)

// The longest that is looked at.
const (
	maxParent = 256
	maxState  = 2048
)

// parentOf is the context that a client sent in a request; not valid without one, or if
// it is not what it should be.
func parentOf(request mcp.Message) trace.SpanContext {
	meta := request.At(request.Param("_meta"))
	parent, _ := mcp.TextOf(mcp.Member(meta, traceparent))
	if parent == "" {
		return trace.SpanContext{}
	}
	state, _ := mcp.TextOf(mcp.Member(meta, tracestate))
	return parse(parent, state)
}

// parse reads a context strictly.
func parse(parent, state string) trace.SpanContext {
	if parent == "" || len(parent) > maxParent {
		return trace.SpanContext{}
	}
	carrier := propagation.MapCarrier{traceparent: parent}
	if len(state) <= maxState {
		carrier[tracestate] = state
	}
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
}

// pass puts a context in the place of the client's. Requests that are kept and sent
// again later, for others too, have none.
func pass(request mcp.Message, of trace.SpanContext) mcp.Message {
	switch request.Method() {
	case mcp.MethodInitialize, mcp.MethodListen:
		return request
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(context.Background(), of), carrier)
	members := append([]byte(`"`+traceparent+`":`), mcp.Quote(carrier[traceparent])...)
	if state := carrier[tracestate]; state != "" {
		members = append(append(members, `,"`+tracestate+`":`...), mcp.Quote(state)...)
	}
	return request.WithMeta(members, traceparent, tracestate)
}
