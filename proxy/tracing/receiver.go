package tracing

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"mcpgateway/policy"
)

const (
	maxRequest = 16 << 20 // bytes of what is sent at once; a batch is far below
	maxError   = 300      // bytes of why it was not taken

	retryWait    = time.Second // after the first try, doubled
	maxRetryWait = 5 * time.Second
)

// receiver is who spans are sent to. A nil one need not be closed.
type receiver struct {
	sdktrace.SpanExporter
	resource *resource.Resource
	headers  map[string]string
	release  func()
}

// newReceiver connects when there is something to send. Each option that an
// environment variable could set is given.
func newReceiver(rules *policy.Tracing, from *resource.Resource) (*receiver, error) {
	at, err := url.Parse(rules.Endpoint)
	if err != nil {
		return nil, err
	}
	r := &receiver{resource: from, headers: rules.Headers}
	secure, err := tlsOf(rules)
	if err != nil {
		return nil, err
	}
	if rules.Protocol == "http" {
		return r, r.overHTTP(at, rules, secure)
	}
	return r, r.overGRPC(at, rules, secure)
}

func tlsOf(rules *policy.Tracing) (*tls.Config, error) {
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(rules.RootCAs) > 0 {
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(rules.RootCAs) {
			return nil, errors.New("its root certificates can't be read: want PEM")
		}
	}
	return secure, nil
}

func (r *receiver) overGRPC(at *url.URL, rules *policy.Tracing, secure *tls.Config) error {
	how := insecure.NewCredentials()
	if at.Scheme == "https" {
		how = credentials.NewTLS(secure)
	}
	connection, err := grpc.NewClient("dns:///"+address(at), grpc.WithTransportCredentials(how), grpc.WithNoProxy(), grpc.WithDisableServiceConfig())
	if err != nil {
		return err
	}
	r.release = func() { _ = connection.Close() }
	r.SpanExporter, err = otlptracegrpc.New(context.Background(), otlptracegrpc.WithGRPCConn(connection), otlptracegrpc.WithHeaders(rules.Headers),
		otlptracegrpc.WithTimeout(sendWait), otlptracegrpc.WithMaxRequestSize(maxRequest),
		otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{Enabled: true, InitialInterval: retryWait, MaxInterval: maxRetryWait, MaxElapsedTime: sendWait}))
	return err
}

func (r *receiver) overHTTP(at *url.URL, rules *policy.Tracing, secure *tls.Config) error {
	where := *at
	where.Host = address(at)
	if where.Path == "" || where.Path == "/" {
		where.Path = "/v1/traces" // OTLP's default
	}
	transport := &http.Transport{
		TLSClientConfig: secure, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute,
		DialContext: (&net.Dialer{Timeout: flushWait}).DialContext, TLSHandshakeTimeout: flushWait,
	}
	r.release = transport.CloseIdleConnections
	var err error
	r.SpanExporter, err = otlptracehttp.New(context.Background(), otlptracehttp.WithEndpointURL(where.String()),
		otlptracehttp.WithHTTPClient(&http.Client{Transport: patient{transport}, CheckRedirect: noRedirect}),
		otlptracehttp.WithTLSClientConfig(nil), otlptracehttp.WithHeaders(rules.Headers), otlptracehttp.WithTimeout(sendWait),
		otlptracehttp.WithCompression(otlptracehttp.NoCompression), otlptracehttp.WithEncoding(otlptracehttp.EncodingProtobuf),
		otlptracehttp.WithMaxRequestSize(maxRequest),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: retryWait, MaxInterval: maxRetryWait, MaxElapsedTime: sendWait}))
	return err
}

// noRedirect keeps what is sent, and the headers, from going elsewhere.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// address is the host and port of a URL.
func address(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	if u.Scheme == "https" {
		return net.JoinHostPort(u.Hostname(), "443")
	}
	return net.JoinHostPort(u.Hostname(), "80")
}

// patient has a receiver that can't be reached be tried again, as over gRPC.
type patient struct{ http.RoundTripper }

func (p patient) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := p.RoundTripper.RoundTrip(r)
	var dialled *net.OpError
	if errors.As(err, &dialled) && dialled.Op == "dial" {
		return nil, unreachable{err}
	}
	return response, err
}

type unreachable struct{ error }

// Temporary is what the exporter asks.
func (unreachable) Temporary() bool { return true }

// send sends spans. Its error holds no header.
func (r *receiver) send(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	own := make([]sdktrace.ReadOnlySpan, len(spans))
	for i, span := range spans {
		own[i] = ofResource{span, r.resource}
	}
	err := r.ExportSpans(ctx, own)
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, value := range r.headers { // a receiver may say what it was sent
		if value != "" {
			text = strings.ReplaceAll(text, value, "…")
		}
	}
	return fmt.Errorf("%s", clean(text, maxError))
}

// ofResource is a span of a resource that is exactly what it was said to be: the SDK
// adds what environment variables say.
type ofResource struct {
	sdktrace.ReadOnlySpan
	resource *resource.Resource
}

func (s ofResource) Resource() *resource.Resource { return s.resource }

func (r *receiver) close() {
	if r == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushWait)
	defer cancel()
	_ = r.Shutdown(ctx) // nothing waits in it
	r.release()
}
