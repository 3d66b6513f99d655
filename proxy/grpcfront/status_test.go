package grpcfront

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"mcpgateway/policy/authn"
	"mcpgateway/policy/ratelimit"
	"mcpgateway/proxy/breaker"
	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/grpcfront/gatewaypb"
)

// What the policy refuses has a status of its own, and says when to come again.
func TestRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		err  error
		code codes.Code
		data string
	}{
		{"a limit", &ratelimit.Error{What: "this caller", Concurrent: true, RetryAfter: time.Second}, codes.ResourceExhausted, `{"mcpgateway/retryAfterMs":1001}`},
		{"a breaker whose time has come", &breaker.OpenError{}, codes.ResourceExhausted, ""},
		{"rules", &gate.ForbiddenError{Subject: "key:a", Server: "files", What: `tool "x"`}, codes.PermissionDenied, ""},
		{"no credential", &authn.Error{Kind: authn.NoCredential}, codes.Unauthenticated, ""},
		{"a scope that is missing", &authn.Error{Kind: authn.Scope}, codes.PermissionDenied, ""},
		{"wrong credentials", &authn.Error{Kind: authn.Throttled, RetryAfter: time.Minute}, codes.ResourceExhausted, `{"mcpgateway/retryAfterMs":60001}`},
		{"anything else", errors.New("x"), codes.Unavailable, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := status.Convert(refused(t.Context(), fmt.Errorf("call: %w", tt.err)))
			detail, _ := got.Details()[0].(*gatewaypb.Error)
			if got.Code() != tt.code || detail.GetDataJson() != tt.data {
				t.Errorf("got %s with %q, want %s with %q", got.Code(), detail.GetDataJson(), tt.code, tt.data)
			}
		})
	}
}
