package httpfront

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/authn"
	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/proxytest"
)

// TestStreamsEndWithTheirKey: what a long stream asks every quietWait.
func TestStreamsEndWithTheirKey(t *testing.T) {
	t.Parallel()
	key, text, err := authn.NewAPIKey("test", nil, nil, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	generation := func(keys []policy.Key, servers ...string) *Current {
		p := &policy.Policy{Servers: map[string]policy.Server{}, Keys: keys}
		for _, name := range servers {
			p.Servers[name] = policy.Server{}
		}
		return &Current{Policy: p, Auth: proxytest.Authenticator(t, keys), Gate: gate.New(gate.Rules{Policy: p}, nil, gate.NewSessions(slog.Default()))}
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
				r:     withKey(text),
				shown: authn.Request{Transport: "http", Header: withKey(text).Header},
				scope: policy.Scope{Server: "echo"},
			}
			if got := x.stillAllowed(); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// A server that always has something to say does not keep a stream in force.
func TestTalkKeepsNoKeyInForce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &policy.Policy{} // without the key
		x := &exchange{
			Front: New(func() *Current {
				return &Current{Policy: p, Auth: proxytest.Authenticator(t, nil), Gate: gate.New(gate.Rules{Policy: p}, nil, gate.NewSessions(slog.Default()))}
			}, slog.New(slog.DiscardHandler)),
			out: newWriter(httptest.NewRecorder()),
			r:   httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/servers/echo/mcp", nil),
		}
		said := link.NewQueue()
		ended := make(chan ending)
		go func() { ended <- x.write(&plain{Call: talker{said}}, manner{}) }()
		for n := 0; ; n++ {
			select {
			case got := <-ended:
				if got != revoked {
					t.Errorf("got ending %v", got)
				}
				return
			case <-time.After(quietWait / 3):
				said.Offer(mcp.NewRequest(nil, mcp.MethodProgress, nil))
			}
			if n == 100 {
				t.Error("the stream goes on")
				said.Force(mcp.NewResult([]byte("1"), []byte("{}")))
			}
		}
	})
}

type talker struct{ *link.Queue }

func (talker) Cancel(string) {}
func (talker) Detach()       {}

func withKey(text string) *http.Request {
	r := httptest.NewRequest("POST", "/servers/echo/mcp", nil)
	r.Header.Set("Authorization", "Bearer "+text)
	return r
}
