package httpfront

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
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

// A stream has a comment when nothing was sent for quietWait, whatever is asked of the
// key meanwhile.
func TestQuietStreamIsKeptAlive(t *testing.T) {
	t.Parallel()
	key, text, err := authn.NewAPIKey("test", nil, nil, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		p := &policy.Policy{Servers: map[string]policy.Server{"echo": {}}, Keys: []policy.Key{key}}
		now := &Current{Policy: p, Auth: proxytest.Authenticator(t, p.Keys), Gate: gate.New(gate.Rules{Policy: p}, nil, gate.NewSessions(slog.Default()))}
		w := &listening{header: http.Header{}}
		x := &exchange{
			Front: New(func() *Current { return now }, slog.New(slog.DiscardHandler)), out: newWriter(w),
			r:     httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/servers/echo/mcp", nil),
			shown: authn.Request{Transport: "http", Header: withKey(text).Header}, scope: policy.Scope{Server: "echo"},
		}
		said := link.NewQueue()
		ended := make(chan ending)
		go func() { ended <- x.write(&plain{Call: talker{said}}, manner{}) }()
		after := func(d time.Duration, want int) {
			t.Helper()
			<-time.After(d)
			synctest.Wait()
			if got := int(w.comments.Load()); got != want {
				t.Errorf("got %d comments, want %d", got, want)
			}
		}
		after(0, 1) // it begins at once
		after(10*time.Second, 1)
		said.Offer(mcp.NewRequest(nil, mcp.MethodProgress, nil))
		after(14*time.Second, 1) // the key was asked for meanwhile
		after(2*time.Second, 2)
		after(13*time.Second, 2)
		after(2*time.Second, 3)
		said.Force(mcp.NewResult([]byte("1"), []byte("{}")))
		if got := <-ended; got != complete {
			t.Errorf("got ending %v", got)
		}
	})
}

// listening is a client that counts the comments of its stream.
type listening struct {
	header   http.Header
	comments atomic.Int32
}

func (l *listening) Header() http.Header { return l.header }

func (l *listening) WriteHeader(int) {}

func (l *listening) Write(p []byte) (int, error) {
	if string(p) == ":\n\n" {
		l.comments.Add(1)
	}
	return len(p), nil
}

func (l *listening) Flush() {}
