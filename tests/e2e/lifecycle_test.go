package e2e_test

import (
	"strings"
	"testing"
)

// line is a line of mcp-gateway ps, by the sandbox of a server's only instance.
func (g *gateway) line(t *testing.T, server string) (sandbox, state string) {
	t.Helper()
	for line := range strings.Lines(g.cli(t, "ps")) {
		if fields := strings.Fields(line); len(fields) > 6 && fields[2] == server {
			return fields[0], fields[5]
		}
	}
	t.Fatalf("no sandbox of %q runs", server)
	panic("unreachable")
}

// TestIdleServerIsFrozen: it is while nobody asks it, and nobody notices.
func TestIdleServerIsFrozen(t *testing.T) {
	t.Parallel()
	g := start(t, servers(testserver("idle", "freeze_after: 50ms"), testserver("awake", "freeze_after: 0s")))
	idle, awake := g.open(t, "idle"), g.open(t, "awake")
	for range 3 {
		eventually(t, "the idle server is frozen", func() bool { _, state := g.line(t, "idle"); return state == "frozen" })
		if got := idle.ask(t, "echo", struct{}{}); got != "{}" {
			t.Errorf("got %q from a server that was frozen", got)
		}
	}
	if got := awake.ask(t, "echo", struct{}{}); got != "{}" {
		t.Errorf("got %q", got)
	}
	if _, state := g.line(t, "awake"); state != "running" {
		t.Errorf("got state %q of a server that is never frozen", state)
	}
	eventually(t, "the idle server is frozen", func() bool { _, state := g.line(t, "idle"); return state == "frozen" })
	idle.end(t) // a frozen one
	awake.end(t)
	eventually(t, "both sandboxes are gone", func() bool { return len(g.instances(t, "idle"))+len(g.instances(t, "awake")) == 0 })
}

func TestFreezeByHand(t *testing.T) {
	t.Parallel()
	g := start(t, servers(testserver("good")))
	s := g.open(t, "good")
	sandbox, state := g.line(t, "good")
	if state != "running" {
		t.Errorf("got state %q", state)
	}
	g.cli(t, "freeze", sandbox)
	if _, state := g.line(t, "good"); state != "frozen" {
		t.Errorf("got state %q after freeze", state)
	}
	g.cli(t, "reclaim", sandbox, "--mib", "4")
	g.cli(t, "thaw", sandbox)
	if _, state := g.line(t, "good"); state != "running" {
		t.Errorf("got state %q after thaw", state)
	}
	if got := s.ask(t, "echo", struct{}{}); got != "{}" {
		t.Errorf("got %q", got)
	}
}
