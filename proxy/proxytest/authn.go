package proxytest

import (
	"testing"

	"mcpgateway/policy"
	"mcpgateway/policy/authn"
)

// Authenticator knows some API keys, whatever transport they come by.
func Authenticator(tb testing.TB, keys []policy.Key) *authn.Authenticator {
	tb.Helper()
	state := authn.NewState()
	tb.Cleanup(state.Close)
	a, err := authn.New(APIKeys(), keys, state)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// APIKeys is the authentication of a gateway that takes API keys everywhere.
func APIKeys() policy.Authentication {
	methods := map[string][]policy.Method{}
	for _, transport := range []string{"http", "grpc", "websocket", "sse"} {
		methods[transport] = []policy.Method{policy.MethodAPIKey}
	}
	return policy.Authentication{Methods: methods}
}
