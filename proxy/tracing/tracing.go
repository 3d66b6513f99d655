// Package tracing makes spans of calls, by OpenTelemetry's conventions for MCP, and
// sends them to an OTLP receiver. A call never waits for it: what can't be sent in time
// is lost, and told of. No environment variable changes what it does.
//
// Runs in: proxy.
package tracing

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync/atomic"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/trace"

	"mcpgateway/policy"
	"mcpgateway/runtime/release"
)

// scope names the instrumentation in what is sent.
const scope = "mcpgateway/proxy/tracing"

// Tracer makes and sends spans by the settings in force. It is a telemetry.Observer.
// It outlives generations, so that the spans of a call which does are sent.
type Tracer struct {
	log      *slog.Logger
	instance string
	ids      ids
	queue    *queue
	settings settings // Apply's own
	tracer   atomic.Pointer[trace.Tracer]
}

// settings are what a tracer was made by.
type settings struct {
	gateway string
	rules   *policy.Tracing
}

// New returns a Tracer that makes no spans before Apply, and sends none before Run.
func New(log *slog.Logger) *Tracer {
	return &Tracer{log: log, instance: uuid.NewString(), ids: newIDs(), queue: newQueue()}
}

// Apply goes by other settings from now on; nil: no spans. What was made before is
// still sent to where it was to go. An error leaves the settings before in force. Calls
// must come one at a time.
func (t *Tracer) Apply(gateway string, rules *policy.Tracing) error {
	next := settings{gateway, rules}
	if t.settings.equal(next) {
		return nil
	}
	if rules == nil {
		t.tracer.Store(nil)
		t.queue.receiver.Store(nil)
		t.settings = next
		return nil
	}
	receiver, err := newReceiver(rules, t.resource(gateway))
	if err != nil {
		return fmt.Errorf("trace to %q: %w", rules.Endpoint, err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(rules.Sample))),
		sdktrace.WithIDGenerator(t.ids),
		sdktrace.WithResource(t.resource(gateway)),
		sdktrace.WithRawSpanLimits(limits()),
		sdktrace.WithSpanProcessor(t.queue),
	)
	tracer := provider.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL))
	t.queue.receiver.Store(receiver)
	t.tracer.Store(&tracer)
	t.settings = next
	return nil
}

// Run sends spans until ctx ends, and then what is left, within a few seconds.
func (t *Tracer) Run(ctx context.Context) error {
	t.queue.run(ctx, t.log)
	return nil
}

func (s settings) equal(o settings) bool {
	a, b := s.rules, o.rules
	if a == nil || b == nil {
		return a == b
	}
	return s.gateway == o.gateway && a.Endpoint == b.Endpoint && a.Protocol == b.Protocol && a.Sample == b.Sample &&
		string(a.RootCAs) == string(b.RootCAs) && maps.Equal(a.Headers, b.Headers)
}

// resource says who sends.
func (t *Tracer) resource(gateway string) *resource.Resource {
	return resource.NewWithAttributes(semconv.SchemaURL,
		semconv.ServiceName(cmp.Or(gateway, "mcp-gateway")), semconv.ServiceVersion(release.Version()), semconv.ServiceInstanceID(t.instance))
}

// limits bound a span. What is in one is bounded before, so that these are never met.
func limits() sdktrace.SpanLimits {
	return sdktrace.SpanLimits{
		AttributeValueLengthLimit: maxText, AttributeCountLimit: 64, EventCountLimit: 1, LinkCountLimit: 4,
		AttributePerEventCountLimit: 1, AttributePerLinkCountLimit: 1,
	}
}
