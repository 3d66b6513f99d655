package main

import (
	"strings"
	"syscall"
	"testing"
)

// A proxy that works tells so, also while its daemon does not answer: that has a watchdog
// of its own.
func TestWatchdog(t *testing.T) {
	rules, key := newPolicy(t, "echo.eager")
	d := startDaemon(t, rules)
	p := start(t, d.path, "WATCHDOG_USEC=1000000") // a ping every 500 ms
	p.await("READY=1")
	if status, body := p.initialize("echo", key); status != 200 {
		t.Fatalf("got %d %s", status, body)
	}
	for range 3 {
		p.await("WATCHDOG=1")
	}
	p.await("WATCHDOG=1\nSTATUS=ready: 2 servers, 2 instances, 1 sessions")
	d.silent.Store(true)
	for range 3 {
		p.await("WATCHDOG=1\nSTATUS=not ready: the daemon does not answer: ")
	}
	d.silent.Store(false)
	p.await("WATCHDOG=1\nSTATUS=ready: 2 servers")
}

// Each generation but the first is a reload.
func TestReloadingAndStopping(t *testing.T) {
	rules, _ := newPolicy(t, "echo.eager")
	d := startDaemon(t, rules)
	p := start(t, d.path)
	if state := p.await("READY=1"); strings.Contains(state, "RELOADING") {
		t.Errorf("got %q for the first generation", state)
	}
	d.sendPolicy(2)
	if state := p.await("RELOADING=1"); !strings.Contains(state, "\nMONOTONIC_USEC=") {
		t.Errorf("got %q", state)
	}
	p.await("READY=1")
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.await("STOPPING=1")
	if err := p.cmd.Wait(); err != nil {
		t.Error(err)
	}
}
