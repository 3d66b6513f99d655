package httpfront

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A page of another name reads nothing of an admin listener that is on loopback.
func TestAdminHost(t *testing.T) {
	t.Parallel()
	handler := newAdmin(Readiness{}, http.NotFoundHandler())
	for _, tt := range []struct {
		local, host string
		want        int
	}{
		{"127.0.0.1", "127.0.0.1:8081", http.StatusOK},
		{"127.0.0.1", "localhost:8081", http.StatusOK},
		{"::1", "[::1]:8081", http.StatusOK},
		{"127.0.0.1", "evil.example:8081", http.StatusForbidden},
		{"127.0.0.1", "", http.StatusForbidden},
		{"192.0.2.1", "gateway.internal:8081", http.StatusOK},
	} {
		ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.ParseIP(tt.local), Port: 8081})
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/healthz", nil)
		r.Host = tt.host
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("Host %q at %s: got status %d, want %d", tt.host, tt.local, w.Code, tt.want)
		}
	}
}
