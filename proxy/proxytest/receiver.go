package proxytest

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// Receiver is an OTLP receiver of traces, over gRPC and over HTTP. It keeps what it
// gets.
type Receiver struct {
	collectorpb.UnimplementedTraceServiceServer
	GRPC string // URL
	HTTP string // URL, without a path
	PEM  []byte // the authority of its certificates; nil without TLS

	mu      sync.Mutex
	spans   []Span
	headers http.Header   // of the last request, gRPC's too
	arrived chan struct{} // closed when something came
}

// Span is a span that was received.
type Span struct {
	*tracepb.Span
	Resource map[string]string
}

// ID is the span's id, as traceparent has it.
func (s Span) ID() string { return hex.EncodeToString(s.SpanId) }

// Parent is the id of the span's parent, "" without one.
func (s Span) Parent() string { return hex.EncodeToString(s.ParentSpanId) }

// Trace is the id of the span's trace.
func (s Span) Trace() string { return hex.EncodeToString(s.TraceId) }

// Attribute is the text of an attribute, "" without one.
func (s Span) Attribute(key string) string { return texts(s.Attributes)[key] }

// Texts are all attributes.
func (s Span) Texts() map[string]string { return texts(s.Attributes) }

// NewReceiver listens on 127.0.0.1 until the end of the test.
func NewReceiver(t *testing.T, secure bool) *Receiver {
	t.Helper()
	r := &Receiver{arrived: make(chan struct{})}
	over := httptest.NewUnstartedServer(http.HandlerFunc(r.serveHTTP))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.GRPC = "http://" + listener.Addr().String()
	var options []grpc.ServerOption
	if secure {
		authority := NewAuthority(t, "receiver")
		own := authority.Sign("receiver")
		certificate, err := tls.X509KeyPair(own.Certificate, own.Key)
		if err != nil {
			t.Fatal(err)
		}
		over.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
		options = append(options, grpc.Creds(credentials.NewServerTLSFromCert(&certificate)))
		r.GRPC, r.PEM = "https://"+listener.Addr().String(), authority.PEM
		over.StartTLS()
	} else {
		over.Start()
	}
	r.HTTP = over.URL
	server := grpc.NewServer(options...)
	collectorpb.RegisterTraceServiceServer(server, r)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { over.Close(); server.Stop(); serving.Wait() })
	return r
}

// Export is what comes over gRPC.
func (r *Receiver) Export(ctx context.Context, request *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	headers := http.Header{}
	for name, values := range md {
		headers[http.CanonicalHeaderKey(name)] = values
	}
	r.keep(request, headers)
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

func (r *Receiver) serveHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	var spans collectorpb.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &spans)
	}
	if err != nil || request.URL.Path != "/v1/traces" || request.Header.Get("Content-Type") != "application/x-protobuf" {
		http.Error(w, "no spans", http.StatusBadRequest)
		return
	}
	r.keep(&spans, request.Header)
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (r *Receiver) keep(request *collectorpb.ExportTraceServiceRequest, headers http.Header) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resource := range request.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				r.spans = append(r.spans, Span{span, texts(resource.Resource.GetAttributes())})
			}
		}
	}
	r.headers = headers
	close(r.arrived)
	r.arrived = make(chan struct{})
}

// Spans are those that came so far.
func (r *Receiver) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Span(nil), r.spans...)
}

// Header is a header of what came last.
func (r *Receiver) Header(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.headers.Get(name)
}

// Await waits for a span.
func (r *Receiver) Await(t *testing.T, what string, is func(Span) bool) Span {
	t.Helper()
	const patience = time.Minute
	for deadline := time.After(patience); ; {
		r.mu.Lock()
		arrived := r.arrived
		for _, span := range r.spans {
			if is(span) {
				r.mu.Unlock()
				return span
			}
		}
		r.mu.Unlock()
		select {
		case <-arrived:
		case <-deadline:
			t.Fatalf("no span came within %s: %s", patience, what)
		}
	}
}

func texts(attributes []*commonpb.KeyValue) map[string]string {
	all := map[string]string{}
	for _, a := range attributes {
		all[a.Key] = a.Value.GetStringValue()
	}
	return all
}
