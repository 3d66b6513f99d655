package grpcfront

import (
	"context"
	"errors"
	"testing"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"mcpgateway/policy"
	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

func TestReasons(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want codes.Code
	}{
		{&policy.DeniedError{}, codes.NotFound},
		{&gate.SessionError{}, codes.FailedPrecondition},
		{gate.ErrNoSession, codes.FailedPrecondition},
		{gate.ErrListening, codes.Aborted},
		{gate.ErrSessionLimit, codes.ResourceExhausted},
		{link.ErrBusy, codes.ResourceExhausted},
		{&gate.MethodError{Method: "x"}, codes.Unimplemented},
		{context.Canceled, codes.Canceled},
		{errors.New("the server fell over"), codes.Unavailable},
	} {
		if got := status.Code(refused(t.Context(), tt.err)); got != tt.want {
			t.Errorf("%v: got %v, want %v", tt.err, got, tt.want)
		}
	}
	over, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	if got := status.Code(refused(over, errors.New("x"))); got != codes.DeadlineExceeded {
		t.Errorf("got %v", got)
	}
}

// Whatever a caller says of a request, what becomes of it is one message of the
// stateless era with that method, and params that hold what the caller gave.
func FuzzRequest(f *testing.F) {
	f.Add("tools/call", `{"name":"x","_meta":{"progressToken":1}}`, "grpcurl/1.9.4 grpc-go/1.85.0")
	f.Add("x", `{},"method":"y"`, "")
	f.Add("x", `{"_meta" : {} , "a":"\ud800"}`, "/")
	f.Fuzz(func(t *testing.T, method, params, agent string) {
		m, err := request(method, params, agent)
		if err != nil || !utf8.ValidString(method) { // which gRPC refuses
			return
		}
		parsed, err := mcp.Parse([]byte(string(m.Raw())))
		if err != nil {
			t.Fatalf("made %q: %v", m.Raw(), err)
		}
		if parsed.Kind() != mcp.Request || parsed.Method() != method || string(parsed.ID()) != "1" {
			t.Errorf("made %q of method %q", m.Raw(), method)
		}
		revision, _ := parsed.Text(parsed.Param("_meta", mcp.MetaRevision))
		if !mcp.Stateless(revision) || parsed.Param("_meta", mcp.MetaCapabilities).Empty() || parsed.Param("_meta", mcp.MetaClientInfo).Empty() {
			t.Errorf("made %q", m.Raw())
		}
	})
}

func FuzzCredentials(f *testing.F) {
	f.Add("Bearer x", "y")
	f.Fuzz(func(t *testing.T, authorization, key string) {
		h := credentialsOf(t.Context(), metadata.Pairs("Authorization", authorization, "X-API-Key", key))
		if h.Header.Get("Authorization") != authorization || h.Header.Get("X-API-Key") != key {
			t.Errorf("got %v", h)
		}
	})
}
