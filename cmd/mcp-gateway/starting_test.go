package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mcpgateway/runtime/config"
	"mcpgateway/runtime/control"
)

func TestStarted(t *testing.T) {
	t.Parallel()
	cfg, _, err := config.Parse("c.yaml", []byte("servers: {a: {command: sh, eager: true}, b: {command: sh}, c: {command: sh, eager: true}, d: {command: sh, eager: true, enabled: false}}\n"), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	eager := eagerServers(cfg)
	if strings.Join(eager, " ") != "a c" {
		t.Errorf("got %q", eager)
	}
	if n := started(eager, []control.Sandbox{{Server: "a"}, {Server: "a"}, {Server: "b"}}); n != 1 {
		t.Errorf("got %d, want 1", n)
	}
}

// A daemon that is not there yet is no error, and only a terminal is told.
func TestStartingIsSaid(t *testing.T) {
	t.Parallel()
	master, slave := terminal(t)
	g := &gateway{options: upOptions{problems: slave}, state: filepath.Join(t.TempDir(), "none"), eager: []string{"a", "b"}}
	s := g.watchStart()
	s.say(t.Context())
	s.stop()
	if err := master.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for !strings.HasSuffix(got.String(), "\r"+eraseLine) {
		part := make([]byte, 100)
		n, err := master.Read(part)
		if err != nil {
			t.Fatalf("got %q: %v", got.String(), err)
		}
		got.Write(part[:n])
	}
	if want := "starting: 0 of 2 eager servers run (0s)"; !strings.Contains(got.String(), want) {
		t.Errorf("got %q, want %q", got.String(), want)
	}
	g.options.problems = &got
	if s := g.watchStart(); s.ticks != nil {
		t.Error("what is no terminal is told")
	}
}
