package e2e_test

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestKilled kills one of the gateway's processes, which can then clean up
// nothing, and wants no process of a server to outlive it.
func TestKilled(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		victim func(*gateway) int
		helped bool // up lives on and cleans up
	}{
		{"proxy", func(g *gateway) int { return g.proxy }, true},
		{"daemon", func(g *gateway) int { return g.daemon }, true},
		{"up", func(g *gateway) int { return g.cmd.Process.Pid }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := start(t, servers(testserver("idle", "eager: true"), testserver("busy")))
			s := g.open(t, "busy")
			s.ask(t, "fork", map[string]int{"n": 3}) // they ignore SIGTERM
			s.ask(t, "no-read", struct{}{})          // the end of its input does not end it
			s.id = ""                                // nobody is there to end it
			if got, least := len(g.sandboxed()), 10; got < least {
				t.Fatalf("processes in sandboxes: got %d, want %d or more", got, least)
			}
			g.killed = true
			up := g.cmd.Process.Pid
			if tt.helped {
				g.signal(t, up, unix.SIGSTOP) // the others must not need it
			}
			g.signal(t, tt.victim(g), unix.SIGKILL)
			eventually(t, "no server runs", func() bool { return len(g.sandboxed()) == 0 })
			if tt.helped {
				g.signal(t, up, unix.SIGCONT)
				g.wait(t)
				if g.err == nil {
					t.Error("up ended with status 0, want 1: a part of it was killed")
				}
			}
			eventually(t, "no process of the gateway runs", func() bool { return len(g.all()) == 0 })
			g.sweep(t)
		})
	}
}

func (g *gateway) signal(t *testing.T, pid int, signal unix.Signal) {
	t.Helper()
	if err := unix.Kill(pid, signal); err != nil {
		t.Fatalf("send %v to process %d: %v", signal, pid, err)
	}
}

// sweep sees to what a killed process could not remove: folders, and cgroups that
// the next daemon removes.
func (g *gateway) sweep(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(g.runDir); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(g.state()); err != nil {
		t.Error(err)
	}
	start(t, servers(testserver("next", "eager: true")))
	if left := g.cgroups(); len(left) > 0 {
		t.Errorf("cgroups that the next daemon has not removed: %q", left)
	}
}
