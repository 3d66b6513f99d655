package tracing

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"

	"mcpgateway/policy"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/proxytest"
	"mcpgateway/proxy/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The contexts of clients.
const (
	trace1 = "4bf92f3577b34da6a3ce929d0e0e4736"
	span1  = "00f067aa0ba902b7"
	span2  = "00f067aa0ba902b8"
)

func request(t *testing.T, text string) mcp.Message {
	t.Helper()
	m, err := mcp.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func toolCall(t *testing.T, meta string) *telemetry.Call {
	t.Helper()
	return &telemetry.Call{
		Correlation: "C-1", Transport: "http", Caller: &policy.Identity{Subject: "key:alice"}, Project: "p", Server: "files",
		Method: "tools/call", Tool: "read", Name: "read", Revision: "2025-11-25", Started: time.Now(),
		Request: request(t, `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"read"`+meta+`}}`),
	}
}

func withParent(flags string) string {
	return `,"_meta":{"traceparent":"00-` + trace1 + `-` + span1 + `-` + flags + `","tracestate":"a=b"}`
}

// running runs a Tracer until stop is called, which returns when all is sent.
func running(t *testing.T, rules *policy.Tracing) (tracer *Tracer, log *bytes.Buffer, stop func()) {
	t.Helper()
	log = &bytes.Buffer{}
	tracer = New(slog.New(slog.NewTextHandler(log, nil)))
	if err := tracer.Apply("the-gateway", rules); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { _ = tracer.Run(ctx) })
	stop = func() { cancel(); done.Wait() }
	t.Cleanup(stop)
	return tracer, log, stop
}

// do has a call go through.
func do(tracer *Tracer, c *telemetry.Call, status string) context.Context {
	ctx := tracer.Begin(context.Background(), c)
	c.Status, c.Instance, c.Passed, c.Duration = status, "files-1", c.Started.Add(time.Millisecond), 5*time.Millisecond
	tracer.End(ctx, c)
	return ctx
}

func TestSpansOverEachProtocol(t *testing.T) {
	for _, test := range []struct {
		protocol string
		secure   bool
	}{{"grpc", false}, {"grpc", true}, {"http", false}, {"http", true}} {
		t.Run(test.protocol, func(t *testing.T) {
			r := proxytest.NewReceiver(t, test.secure)
			rules := &policy.Tracing{Endpoint: r.GRPC, Protocol: test.protocol, Sample: 1, RootCAs: r.PEM, Headers: map[string]string{"X-Tenant": "secret-tenant"}}
			if test.protocol == "http" {
				rules.Endpoint = r.HTTP
			}
			tracer, log, stop := running(t, rules)
			c := toolCall(t, withParent("01"))
			c.Trace = "00-" + trace1 + "-" + span2 + "-00"
			ctx := tracer.Begin(context.Background(), c)
			telemetry.Step(ctx, "start sandbox", "sandbox", "files-1")(errors.New("no room"))
			c.Status, c.Instance, c.Passed, c.Duration = "ok", "files-1", c.Started.Add(time.Millisecond), 5*time.Millisecond
			tracer.End(ctx, c)
			stop()
			if len(r.Spans()) != 3 {
				t.Fatalf("got %d spans, want 3; log: %s", len(r.Spans()), log)
			}
			checkTree(t, r, c)
			if got := r.Header("X-Tenant"); got != "secret-tenant" {
				t.Errorf("got header %q", got)
			}
			if log.Len() > 0 {
				t.Errorf("got log %q, want none", log)
			}
		})
	}
}

func checkTree(t *testing.T, r *proxytest.Receiver, c *telemetry.Call) {
	t.Helper()
	kind := func(k tracepb.Span_SpanKind) proxytest.Span {
		return r.Await(t, k.String(), func(s proxytest.Span) bool { return s.Kind == k })
	}
	server, client, step := kind(tracepb.Span_SPAN_KIND_SERVER), kind(tracepb.Span_SPAN_KIND_CLIENT), kind(tracepb.Span_SPAN_KIND_INTERNAL)
	if server.Name != "tools/call read" || server.Trace() != trace1 || server.Parent() != span1 || server.TraceState != "a=b" {
		t.Errorf("got server span %v", server.Span)
	}
	if len(server.Links) != 1 || hex.EncodeToString(server.Links[0].SpanId) != span2 {
		t.Errorf("got links %v, want one, the header's", server.Links)
	}
	if client.Name != "tools/call read" || client.Trace() != trace1 || client.Parent() != server.ID() || len(client.Links) != 0 {
		t.Errorf("got client span %v", client.Span)
	}
	if got, want := client.StartTimeUnixNano, uint64(c.Passed.UnixNano()); got != want {
		t.Errorf("got the start of the client span at %d, want %d", got, want)
	}
	if got, want := server.EndTimeUnixNano, uint64(c.Started.Add(c.Duration).UnixNano()); got != want {
		t.Errorf("got the end of the server span at %d, want %d", got, want)
	}
	if step.Name != "start sandbox" || step.Parent() != server.ID() || step.Attribute("mcp_gateway.sandbox") != "files-1" || step.Status.GetMessage() != "no room" {
		t.Errorf("got step %v", step.Span)
	}
	parent, _ := c.Request.Text(c.Request.Param("_meta", "traceparent"))
	state, _ := c.Request.Text(c.Request.Param("_meta", "tracestate"))
	if want := "00-" + trace1 + "-" + client.ID() + "-01"; parent != want || state != "a=b" {
		t.Errorf("got traceparent %q, tracestate %q to the server, want %q", parent, state, want)
	}
	want := map[string]string{
		"mcp.method.name": "tools/call", "gen_ai.tool.name": "read", "gen_ai.operation.name": "execute_tool", "mcp.protocol.version": "2025-11-25",
		"jsonrpc.request.id": "7", "network.transport": "tcp", "network.protocol.name": "http", "mcp_gateway.project": "p", "mcp_gateway.server": "files",
		"mcp_gateway.instance": "files-1", "mcp_gateway.correlation_id": "C-1", "mcp_gateway.status": "ok", "mcp_gateway.transport": "http",
	}
	if got := server.Texts(); !maps.Equal(got, want) {
		t.Errorf("got attributes\n%v, want\n%v", got, want)
	}
	if got := client.Attribute("network.transport"); got != "pipe" {
		t.Errorf("got network.transport %q of the client span, want pipe", got)
	}
	if got := slices.Sorted(maps.Keys(server.Resource)); !slices.Equal(got, []string{"service.instance.id", "service.name", "service.version"}) || server.Resource["service.name"] != "the-gateway" {
		t.Errorf("got resource %v", server.Resource)
	}
}

// TestEnvironmentChangesNothing sets what the SDK and its exporters read.
func TestEnvironmentChangesNothing(t *testing.T) {
	for name, value := range map[string]string{
		"OTEL_SDK_DISABLED": "true", "OTEL_SERVICE_NAME": "other", "OTEL_RESOURCE_ATTRIBUTES": "a=b", "OTEL_TRACES_SAMPLER": "always_off",
		"OTEL_EXPORTER_OTLP_ENDPOINT": "https://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://127.0.0.1:1", "OTEL_EXPORTER_OTLP_HEADERS": "evil=1",
		"OTEL_EXPORTER_OTLP_TRACES_HEADERS": "evil=1", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", "OTEL_EXPORTER_OTLP_INSECURE": "false",
		"OTEL_EXPORTER_OTLP_CERTIFICATE": "testdata/none.pem", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
		"OTEL_BSP_MAX_QUEUE_SIZE": "1", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "1", "OTEL_SPAN_LINK_COUNT_LIMIT": "0",
		"HTTP_PROXY": "http://127.0.0.1:1", "HTTPS_PROXY": "http://127.0.0.1:1", "GRPC_PROXY": "http://127.0.0.1:1",
	} {
		t.Setenv(name, value)
	}
	for _, protocol := range []string{"grpc", "http"} {
		r := proxytest.NewReceiver(t, false)
		tracer, log, stop := running(t, &policy.Tracing{Endpoint: map[string]string{"grpc": r.GRPC, "http": r.HTTP}[protocol], Protocol: protocol, Sample: 1})
		c := toolCall(t, withParent("01"))
		c.Trace = "00-" + trace1 + "-" + span2 + "-00"
		ctx := tracer.Begin(context.Background(), c)
		telemetry.Step(ctx, "start sandbox", "sandbox", "files-1")(errors.New("no room"))
		c.Status, c.Instance, c.Passed, c.Duration = "ok", "files-1", c.Started.Add(time.Millisecond), 5*time.Millisecond
		tracer.End(ctx, c)
		stop()
		if len(r.Spans()) != 3 {
			t.Fatalf("%s: got %d spans, want 3; log: %s", protocol, len(r.Spans()), log)
		}
		checkTree(t, r, c)
		if r.Header("Evil")+r.Header("Content-Encoding") != "" {
			t.Errorf("%s: got headers of the environment", protocol)
		}
	}
}

func TestSampling(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		meta   string
		sample float64
		want   int // spans
	}{
		{"all", "", 1, 2},
		{"none", "", 0, 0},
		{"the client has decided for it", withParent("01"), 0, 2},
		{"the client has decided against it", withParent("00"), 1, 0},
		{"what is no context does not count", `,"_meta":{"traceparent":"00-` + strings.ToUpper(trace1) + `-` + span1 + `-00"}`, 1, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := proxytest.NewReceiver(t, false)
			tracer, _, stop := running(t, &policy.Tracing{Endpoint: r.GRPC, Protocol: "grpc", Sample: test.sample})
			c := toolCall(t, test.meta)
			before := string(c.Request.Raw())
			do(tracer, c, "ok")
			stop()
			if got := len(r.Spans()); got != test.want {
				t.Errorf("got %d spans, want %d", got, test.want)
			}
			if changed := string(c.Request.Raw()) != before; changed != (test.want > 0) {
				t.Errorf("got request %s, of %s", c.Request.Raw(), before)
			}
		})
	}
}

// TestCallsInsideOne have a part in its trace, and none if it has none.
func TestCallsInsideOne(t *testing.T) {
	t.Parallel()
	r := proxytest.NewReceiver(t, false)
	tracer, _, stop := running(t, &policy.Tracing{Endpoint: r.GRPC, Protocol: "grpc", Sample: 1})
	for flags, want := range map[string]int{"01": 4, "00": 0} {
		before := len(r.Spans())
		outer, inner := toolCall(t, withParent(flags)), toolCall(t, "")
		ctx := tracer.Begin(context.Background(), outer)
		within := tracer.Begin(ctx, inner)
		for _, c := range []*telemetry.Call{inner, outer} {
			c.Status, c.Passed = "ok", c.Started
		}
		tracer.End(within, inner)
		tracer.End(ctx, outer)
		if want > 0 {
			s := r.Await(t, "the outer span", func(s proxytest.Span) bool { return s.Parent() == span1 })
			r.Await(t, "the inner span", func(i proxytest.Span) bool { return i.Parent() == s.ID() && i.Kind == tracepb.Span_SPAN_KIND_INTERNAL })
		}
		if got := len(r.Spans()) - before; got > want {
			t.Errorf("flags %s: got %d spans, want %d", flags, got, want)
		}
	}
	stop()
	if got := len(r.Spans()); got != 4 {
		t.Errorf("got %d spans, want 4", got)
	}
}

// TestCallsOfOneMessageAreOneTrace is what becomes of a message for many servers.
func TestCallsOfOneMessageAreOneTrace(t *testing.T) {
	t.Parallel()
	r := proxytest.NewReceiver(t, false)
	tracer, _, stop := running(t, &policy.Tracing{Endpoint: r.GRPC, Protocol: "grpc", Sample: 1})
	for _, correlation := range []string{"C-1", "C-1", "C-2"} {
		c := toolCall(t, "")
		c.Correlation = correlation
		do(tracer, c, "ok")
	}
	stop()
	traces := map[string]int{}
	for _, s := range r.Spans() {
		traces[s.Trace()]++
	}
	if got := slices.Sorted(maps.Values(traces)); !slices.Equal(got, []int{2, 4}) {
		t.Errorf("got traces of %v spans, want 2 and 4", got)
	}
}

// TestWhatTheGatewayAsksFirst is in the trace of the message that it asks for, and in none
// if it asks for none.
func TestWhatTheGatewayAsksFirst(t *testing.T) {
	t.Parallel()
	r := proxytest.NewReceiver(t, false)
	tracer, _, stop := running(t, &policy.Tracing{Endpoint: r.GRPC, Protocol: "grpc", Sample: 1})
	c := toolCall(t, withParent("01"))
	first := toolCall(t, "")
	first.Transport, first.Correlation, first.Method = "", "", "tools/list"
	first.For = &telemetry.Cause{Correlation: c.Correlation, Message: c.Request}
	do(tracer, first, "ok")
	itself := *first
	itself.For = nil
	do(tracer, &itself, "ok")
	stop()
	got := r.Spans()
	if len(got) != 2 {
		t.Fatalf("got %d spans, want 2", len(got))
	}
	s := r.Await(t, "the list", func(s proxytest.Span) bool { return s.Kind == tracepb.Span_SPAN_KIND_INTERNAL })
	if s.Trace() != trace1 || s.Parent() != span1 || s.Name != "tools/list" || s.Attribute("mcp_gateway.correlation_id") != "C-1" {
		t.Errorf("got %v", s.Span)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status, reason    string
		failure, code     string
		described, failed bool
	}{
		{status: "ok"},
		{status: "cancelled", reason: "gone"},
		{status: "unread", reason: "gone"},
		{status: "tool-error", failure: "tool_error", failed: true},
		{status: "error -32602", reason: "no such\x1b[31m tool", failure: "-32602", code: "-32602", described: true, failed: true},
		{status: "timeout", reason: "late", failure: "timeout", described: true, failed: true},
		{status: "forbidden", reason: "key:alice may not", failure: "forbidden", failed: true},
	} {
		t.Run(test.status, func(t *testing.T) {
			r := proxytest.NewReceiver(t, false)
			tracer, _, stop := running(t, &policy.Tracing{Endpoint: r.GRPC, Protocol: "grpc", Sample: 1})
			c := toolCall(t, "")
			c.Reason = test.reason
			do(tracer, c, test.status)
			stop()
			for _, s := range r.Spans() {
				want := ""
				if test.described {
					want = strings.ReplaceAll(test.reason, "\x1b", "\uFFFD")
				}
				failed := s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR
				if s.Attribute("error.type") != test.failure || s.Attribute("rpc.response.status_code") != test.code || failed != test.failed || s.Status.GetMessage() != want {
					t.Errorf("got %v, want %+v", s.Span, test)
				}
			}
			if len(r.Spans()) != 2 {
				t.Errorf("got %d spans, want 2", len(r.Spans()))
			}
		})
	}
}

// TestRefusedCallsHaveNoClientSpan, since no server saw them.
func TestRefusedCallsHaveNoClientSpan(t *testing.T) {
	t.Parallel()
	r := proxytest.NewReceiver(t, false)
	tracer, _, stop := running(t, &policy.Tracing{Endpoint: r.GRPC, Protocol: "grpc", Sample: 1})
	c := toolCall(t, "")
	ctx := tracer.Begin(context.Background(), c)
	c.Refused, c.Status = true, "limited"
	tracer.End(ctx, c)
	stop()
	if got := r.Spans(); len(got) != 1 || got[0].Kind != tracepb.Span_SPAN_KIND_SERVER {
		t.Errorf("got %v, want a server span alone", got)
	}
}

func TestOtherSettings(t *testing.T) {
	t.Parallel()
	first, second := proxytest.NewReceiver(t, false), proxytest.NewReceiver(t, false)
	tracer, _, stop := running(t, &policy.Tracing{Endpoint: first.GRPC, Protocol: "grpc", Sample: 1})
	lasting := toolCall(t, "")
	ctx := tracer.Begin(context.Background(), lasting)
	do(tracer, toolCall(t, ""), "ok")
	first.Await(t, "what was sent before", func(proxytest.Span) bool { return true })
	do(tracer, toolCall(t, ""), "timeout")
	if err := tracer.Apply("the-gateway", &policy.Tracing{Endpoint: second.HTTP, Protocol: "http", Sample: 1}); err != nil {
		t.Fatal(err)
	}
	first.Await(t, "what was made before", func(s proxytest.Span) bool { return s.Attribute("error.type") == "timeout" })
	do(tracer, toolCall(t, ""), "tool-error")
	second.Await(t, "what was made after", func(s proxytest.Span) bool { return s.Attribute("error.type") == "tool_error" })
	lasting.Status = "timeout"
	tracer.End(ctx, lasting)
	second.Await(t, "what lasted longer", func(s proxytest.Span) bool { return s.Attribute("error.type") == "timeout" })
	if err := tracer.Apply("the-gateway", nil); err != nil {
		t.Fatal(err)
	}
	c := toolCall(t, "")
	if ctx := do(tracer, c, "ok"); ctx != context.Background() {
		t.Errorf("got context %v of a call that is not traced", ctx)
	}
	stop()
	if got := len(first.Spans()) + len(second.Spans()); got != 7 {
		t.Errorf("got %d spans, want 7", got)
	}
	if err := tracer.Apply("the-gateway", &policy.Tracing{Endpoint: first.GRPC, Protocol: "grpc", RootCAs: []byte("nonsense")}); err == nil {
		t.Error("got no error for roots that can't be read")
	}
}

// TestReceiverIsDown asserts that calls do not wait, that memory is bounded, and that
// a line says so, another at the end, without headers.
func TestReceiverIsDown(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	for _, protocol := range []string{"grpc", "http"} {
		t.Run(protocol, func(t *testing.T) {
			tracer, log, stop := running(t, &policy.Tracing{Endpoint: "http://" + address, Protocol: protocol, Sample: 1, Headers: map[string]string{"authorization": "Bearer abc"}})
			began := time.Now()
			for range 2 * maxQueue {
				do(tracer, toolCall(t, ""), "ok")
			}
			// Whoever waited for the receiver would need a quarter of an hour.
			if took := time.Since(began); took > time.Minute {
				t.Errorf("calls took %s", took)
			}
			if tracer.queue.lost.Load() == 0 || len(tracer.queue.spans) > maxQueue {
				t.Errorf("got %d spans in the queue, %d lost", len(tracer.queue.spans), tracer.queue.lost.Load())
			}
			began = time.Now()
			stop()
			if took := time.Since(began); took > 3*flushWait {
				t.Errorf("the end took %s", took)
			}
			if lines := strings.Count(log.String(), "\n"); lines < 1 || lines > 2 || !strings.Contains(log.String(), "spans were lost") || strings.Contains(log.String(), "abc") {
				t.Errorf("got log %s", log)
			}
		})
	}
}

// TestReceiverThatEchoes asserts that headers are not logged though a receiver says
// what it got.
func TestReceiverThatEchoes(t *testing.T) {
	r := &receiver{headers: map[string]string{"authorization": "Bearer abc"}, SpanExporter: echoing{}}
	if err := r.send(t.Context(), nil); err == nil || strings.Contains(err.Error(), "abc") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}
