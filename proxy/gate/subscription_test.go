package gate

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/audit"
	"mcpgateway/policy/chain"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// keeper is the daemon as far as a log needs it that is never rotated.
type keeper struct{}

func (keeper) Checkpoint(_ context.Context, head chain.Head) (chain.Head, error) { return head, nil }
func (keeper) Rotate(context.Context, chain.Head) (audit.Handover, error) {
	return audit.Handover{}, os.ErrInvalid
}

// recorded gives the gate an audit log; written returns what is in it.
func recorded(t *testing.T, g *Gate) (written func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	log := audit.New(keeper{}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	log.Apply(&policy.Audit{MaxSize: 1 << 30, Sync: policy.SyncNever}, audit.Handover{File: file, Number: 1, Chain: "test"})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- log.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	g.rules.Audit = log
	return func() string {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); {
		if time.Now().After(end) {
			t.Fatal("not in time: " + what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

const listening = `{"jsonrpc":"2.0","id":"s","method":"subscriptions/listen","params":{` + stateless + `,"notifications":{"toolsListChanged":true,"resourceSubscriptions":["test://a"]}}}`

// A subscription lasts as long as its client likes. It is recorded when it begins, and
// keeps no room of the log from calls.
func TestSubscriptionIsRecordedWhenItBegins(t *testing.T) {
	g, _ := newGate(t)
	written := recorded(t, g)
	u := &user{t: t, gate: g, caller: caller("key:a", "modern"), scope: on("modern")}
	call := u.do(listening).Call
	eventually(t, "a record of its begin", func() bool { return strings.Contains(written(), `"status":"listening"`) })
	call.Cancel("enough")
	eventually(t, "a record of its end", func() bool { return strings.Contains(written(), `"status":"cancelled"`) })
	if left := len(g.sessions.crowd.held); left != 0 {
		t.Errorf("got %d callers that hold room", left)
	}
	if n := strings.Count(written(), `"method":"subscriptions/listen"`); n != 2 {
		t.Errorf("got %d records in %s", n, written())
	}
}

// One caller's calls don't take the room of the audit log from others, and give back
// what they took.
func TestOneCallerLeavesRoomInTheAuditLog(t *testing.T) {
	g, _ := newGate(t)
	recorded(t, g)
	pass := func(subject string) (link.Call, error) {
		return g.guard(caller(subject), on("modern")).pass(t.Context(), initialize(), func(context.Context, mcp.Message) (link.Call, error) {
			return link.Answered(mcp.NewResult([]byte("1"), []byte("{}"))), nil
		})
	}
	var calls []link.Call
	for range maxRoom {
		call, err := pass("key:a")
		if err != nil {
			t.Fatal(err)
		}
		calls = append(calls, call)
	}
	if _, err := pass("key:a"); !errors.Is(err, link.ErrBusy) {
		t.Errorf("got %v over the bound", err)
	}
	if _, err := pass("key:b"); err != nil {
		t.Errorf("another caller: got %v", err)
	}
	for i, call := range calls {
		if i%2 == 0 {
			call.Take()
		}
		call.Cancel("enough")
		call.Detach()
	}
	if left := g.sessions.crowd.held["key:a"]; left != 0 {
		t.Errorf("got %d held of calls that have ended", left)
	}
}

// A subscription to a resource ends when a new policy does not permit it any more,
// though its server may still be used.
func TestSubscriptionEndsWithItsPermission(t *testing.T) {
	g, _ := newGate(t)
	under := func(pattern string) *Gate {
		return ruled(t, g, `
roles:
  reader: {permissions: [{actions: [resources/read], resources: ["`+pattern+`"]}]}
bindings:
  - {role: reader, users: ["*"]}
`)
	}
	first := under("test://*")
	u := &user{t: t, gate: first, caller: caller("key:a", "modern"), scope: on("modern")}
	call := u.do(listening).Call
	<-call.Ready()
	under("test://*") // changes nothing
	select {
	case <-call.Ready():
		for _, m := range call.Take() {
			if m.Kind() == mcp.Response {
				t.Fatalf("got %s under rules that permit it", m.Raw())
			}
		}
	default:
	}
	under("test://b")
	if got, err := link.Await(t.Context(), call); err != nil || !strings.Contains(string(got.Raw()), "not permitted") {
		t.Errorf("got %s, %v", got.Raw(), err)
	}
}
