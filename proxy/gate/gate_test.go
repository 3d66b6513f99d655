package gate

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/proxytest"
)

func TestMain(m *testing.M) { os.Exit(proxytest.Main(m, servers())) }

func newGate(t *testing.T) (*Gate, *proxytest.Opener) {
	t.Helper()
	opener := &proxytest.Opener{}
	instances := fleet.New(opener, nil, slog.New(slog.NewTextHandler(t.Output(), nil)))
	opener.Exited = instances.Exited
	sessions := NewSessions(slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(func() {
		sessions.Close()
		instances.Close()
		opener.Wait()
	})
	server := policy.Server{Timeout: time.Minute, IdleTimeout: time.Hour}
	return New(Rules{Policy: &policy.Policy{
		Servers: map[string]policy.Server{"echo": server, "exit": server, "modern": server, "crash": server},
		Limits:  policy.Limits{MaxMessageBytes: 1 << 20, MaxSessions: 2, MaxSessionsPerCaller: 2, MaxConnections: 1024, MaxConnectionsPerCaller: 1024, MaxInstancesPerCaller: 2},
	}}, instances, sessions), opener
}

func caller(subject string, servers ...string) *policy.Identity {
	return &policy.Identity{Subject: subject, Servers: servers}
}

func on(server string) policy.Scope { return policy.Scope{Server: server} }

func initialize() mcp.Message {
	return mcp.NewRequest([]byte("1"), mcp.MethodInitialize, []byte("{}"))
}

// Whoever may not use a server starts nothing, in no way.
func TestDeniedStartsNothing(t *testing.T) {
	g, opener := newGate(t)
	for _, identity := range []*policy.Identity{{}, caller("key:a", "exit")} {
		for _, stateless := range []bool{false, true} {
			_, err := g.Do(t.Context(), Request{Caller: identity, Scope: on("echo"), Stateless: stateless, Message: initialize()})
			wantDenied(t, err)
		}
		_, err := g.Listen(identity, on("echo"), "id")
		wantDenied(t, err)
		wantDenied(t, g.End(identity, on("echo"), "id"))
	}
	if got := opener.Opened(); len(got) != 0 {
		t.Errorf("got sandboxes %v, want none", got)
	}
}

func wantDenied(t *testing.T, err error) {
	t.Helper()
	if _, ok := errors.AsType[*policy.DeniedError](err); !ok {
		t.Errorf("got error %v, want a DeniedError", err)
	}
}

// A start that fails, in whatever way, must not use up the limit.
func TestFailedSessionsDoNotCount(t *testing.T) {
	g, opener := newGate(t)
	opener.Fail = map[string]error{"modern": errors.New("no such command")}
	who := caller("key:a")
	for range 5 {
		if reply, err := g.Do(t.Context(), Request{Caller: who, Scope: on("exit"), Message: initialize()}); err != nil || reply.Session != "" || reply.Call.Take()[0].Err() == nil {
			t.Fatalf("got %+v, %v, want an error response without a session", reply, err)
		}
		if _, err := g.Do(t.Context(), Request{Caller: who, Scope: on("modern"), Message: initialize()}); err == nil || !strings.Contains(err.Error(), "no such command") {
			t.Fatalf("got error %v", err)
		}
	}
	var ids []string
	for range 2 {
		reply, err := g.Do(t.Context(), Request{Caller: who, Scope: on("echo"), Message: initialize()})
		if err != nil || reply.Session == "" {
			t.Fatalf("got %+v, %v, want a session", reply, err)
		}
		ids = append(ids, reply.Session)
	}
	if _, err := g.Do(t.Context(), Request{Caller: who, Scope: on("echo"), Message: initialize()}); !errors.Is(err, ErrSessionLimit) {
		t.Errorf("got error %v, want %v", err, ErrSessionLimit)
	}
	if ids[0] == ids[1] || len(ids[0]) < 26 {
		t.Errorf("got session ids %v", ids)
	}
}

// A session has its place until it is over, and is remembered for a while then: who
// comes for it learns why.
func TestSessionsThatAreOver(t *testing.T) {
	t.Parallel()
	g, _ := newGate(t)
	who := caller("key:a")
	open := func() string {
		t.Helper()
		reply, err := g.Do(t.Context(), Request{Caller: who, Scope: on("echo"), Message: initialize()})
		if err != nil {
			t.Fatal(err)
		}
		return reply.Session
	}
	var first string
	for i := range mostOver + 1 {
		id := open()
		if i == 0 {
			first = id
		}
		over := make(chan struct{})
		held := g.sessions.byID[id]
		held.AfterDone(func() { close(over) })
		held.Close()
		<-over
		eventually(t, "its place is free", func() bool {
			g.sessions.mu.Lock()
			defer g.sessions.mu.Unlock()
			return g.sessions.places == 0 && len(g.sessions.callers) == 0
		})
		var gone *SessionError
		if _, err := g.Revision(who, on("echo"), id); !errors.As(err, &gone) || gone.Cause == nil {
			t.Fatalf("got error %v, want the cause of the end", err)
		}
	}
	var gone *SessionError
	if _, err := g.Revision(who, on("echo"), first); !errors.As(err, &gone) || gone.Cause != nil || len(g.sessions.byID) != mostOver {
		t.Errorf("got error %v, and %d sessions remembered", err, len(g.sessions.byID))
	}
}
