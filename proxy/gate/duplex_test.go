package gate

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/mcp"
)

func newDuplex(t *testing.T, server string) *Duplex {
	t.Helper()
	g, _ := newGate(t)
	d := NewDuplex(Origin{}, caller("key:a"), on(server), func() *Gate { return g })
	t.Cleanup(d.Close)
	return d
}

// A session's end comes after the answers that say why.
func TestDuplexAnswersBeforeTheEnd(t *testing.T) {
	g, opener := newGate(t)
	ends := *g.policy
	ends.Servers = map[string]policy.Server{"echo": {Timeout: time.Minute, IdleTimeout: time.Hour, OnCrash: policy.OnCrashEndSession}}
	g = New(Rules{Policy: &ends}, g.fleet, g.sessions)
	d := NewDuplex(Origin{}, caller("key:a"), on("echo"), func() *Gate { return g })
	defer d.Close()
	d.Receive(initialize().Raw())
	if m := <-d.Out(); m.Err() != nil {
		t.Fatalf("got %s", m.Raw())
	}
	for id := range 20 {
		d.Receive(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"wait"}}`, id))
	}
	opened := opener.Opened()
	if err := opener.Stop(t.Context(), opened[len(opened)-1]); err != nil {
		t.Fatal(err)
	}
	for over := false; !over; { // it knows of the end, and nobody has read yet
		runtime.Gosched()
		d.mu.Lock()
		over = d.over
		d.mu.Unlock()
	}
	for answered := range 20 {
		select {
		case m := <-d.Out():
			if m.Err() == nil {
				t.Errorf("got %s, want an error", m.Raw())
			}
		case <-d.Done():
			t.Fatalf("done after %d answers, want 20", answered)
		}
	}
	<-d.Done()
}

// A client that asks more than it may have in flight is told so, and is served on.
func TestDuplexIsBounded(t *testing.T) {
	d := newDuplex(t, "echo")
	call := func(id, tool, arguments string) {
		d.Receive(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":%q,"arguments":{%s},"_meta":{%q:%q,%q:{}}}}`,
			id, tool, arguments, mcp.MetaRevision, mcp.Revision2026July, mcp.MetaCapabilities))
	}
	answer := func() (id string, ok bool) {
		m := <-d.Out()
		return string(m.ID()), m.Err() == nil
	}
	call("1", "wait", fmt.Sprintf(`"x":%q`, strings.Repeat("x", maxPendingBytes)))
	go call("2", "again", "")
	if id, ok := answer(); id != "2" || ok {
		t.Errorf("got answer %s, %v, want the error of 2", id, ok)
	}
	// Its server may still be starting: it is cancelled all the same.
	d.Receive([]byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`))
	if id, ok := answer(); id != "1" || ok {
		t.Errorf("got answer %s, %v, want the error of 1", id, ok)
	}
	for ok := false; !ok; { // the room of 1 is free when its answer has been taken, or soon
		go call("3", "again", "")
		_, ok = answer()
	}
}

// A front may still be handing over a message when it closes the connection.
func TestDuplexIsClosedForGood(t *testing.T) {
	g, opener := newGate(t)
	d := NewDuplex(Origin{}, caller("key:a"), on("echo"), func() *Gate { return g })
	d.Close()
	d.Receive(initialize().Raw())
	d.Receive(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{%q:%q,%q:{}}}}`,
		mcp.MetaRevision, mcp.Revision2026July, mcp.MetaCapabilities))
	d.Close()
	if got := opener.Opened(); len(got) != 0 {
		t.Errorf("got %v started for a connection that is closed", got)
	}
}

// Who may not use a server any more leaves no session behind: it would take the place
// of another's.
func TestDuplexEndsItsSessionWhateverThePolicy(t *testing.T) {
	g, _ := newGate(t)
	now := g
	d := NewDuplex(Origin{}, caller("key:a"), on("echo"), func() *Gate { return now })
	d.Receive(initialize().Raw())
	if m := <-d.Out(); m.Err() != nil {
		t.Fatalf("got %s", m.Raw())
	}
	now = New(Rules{Policy: &policy.Policy{}}, g.fleet, g.sessions)
	d.Close()
	if got := len(g.sessions.byID); got != 0 {
		t.Errorf("got %d sessions left", got)
	}
}
