package httpfront

import (
	"log/slog"
	"net/http"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/authn"
	"mcpgateway/proxy/gate"
)

// TestStreamsEndWithTheirKey: what a long stream asks every quietWait.
func TestStreamsEndWithTheirKey(t *testing.T) {
	t.Parallel()
	key, text, err := authn.NewAPIKey("test", nil, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	generation := func(keys []policy.Key, servers ...string) *Current {
		p := &policy.Policy{Servers: map[string]policy.Server{}, Keys: keys}
		for _, name := range servers {
			p.Servers[name] = policy.Server{}
		}
		return &Current{Policy: p, Keys: authn.NewAPIKeys(keys), Gate: gate.New(p, nil, gate.NewSessions())}
	}
	expired, onlyOther := key, key
	expired.Expires = time.Now().Add(-time.Second)
	onlyOther.Servers = []string{"other"}
	tests := []struct {
		name string
		now  *Current
		want bool
	}{
		{"as it was", generation([]policy.Key{key}, "echo"), true},
		{"key revoked", generation(nil, "echo"), false},
		{"key expired", generation([]policy.Key{expired}, "echo"), false},
		{"key for another server now", generation([]policy.Key{onlyOther}, "echo", "other"), false},
		{"server gone", generation([]policy.Key{key}), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			x := &exchange{
				Front: New(func() *Current { return tt.now }, slog.New(slog.DiscardHandler)),
				r:     &http.Request{Header: http.Header{"Authorization": {"Bearer " + text}}},
				scope: policy.Scope{Server: "echo"},
			}
			if got := x.stillAllowed(); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
