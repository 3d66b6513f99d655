package httpfront

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// What a token must have been made for is where it was sent to. A client may say
// "localhost" to any gateway; it names this one only over loopback.
func TestResourceIsWhereTheRequestCame(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, host, local, public, want string }{
		{"a name", "gw.example.com", "192.0.2.1:443", "", "http://gw.example.com/mcp"},
		{"loopback", "localhost:8080", "127.0.0.1:8080", "", "http://localhost:8080/mcp"},
		{"loopback, version 6", "localhost:8080", "[::1]:8080", "", "http://localhost:8080/mcp"},
		{"localhost from outside", "localhost:8080", "192.0.2.1:8080", "", "http://192.0.2.1:8080/mcp"},
		{"loopback's address from outside", "127.0.0.1:8080", "192.0.2.1:8080", "", "http://192.0.2.1:8080/mcp"},
		{"configured", "localhost:8080", "192.0.2.1:8080", "https://gw.example.com", "https://gw.example.com/mcp"},
	} {
		local, err := net.ResolveTCPAddr("tcp", tt.local)
		if err != nil {
			t.Fatal(err)
		}
		ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, local)
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/mcp", nil)
		r.Host = tt.host
		if got := connectionOf(r).find(r, tt.public).resource; got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}
