package main

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// A proxy that works tells so, and one whose daemon does not answer does not: nothing
// would be started any more.
func TestWatchdog(t *testing.T) {
	rules, key := newPolicy(t, "echo.eager")
	d := startDaemon(t, rules)
	p := start(t, d.path, "WATCHDOG_USEC=400000") // a ping every 200 ms
	p.await("READY=1")
	if status, body := p.initialize("echo", key); status != 200 {
		t.Fatalf("got %d %s", status, body)
	}
	for range 3 {
		p.await("WATCHDOG=1")
	}
	p.await("WATCHDOG=1\nSTATUS=ready: 2 servers, 2 instances, 1 sessions")
	d.silent.Store(true)
	quiet := time.NewTimer(2 * time.Second)
	defer quiet.Stop()
	for last := time.Now(); ; {
		select {
		case state := <-p.states:
			if !strings.Contains(state, "WATCHDOG=1") {
				continue
			}
			if time.Since(last) > 30*time.Second {
				t.Fatal("it says for ever that it works")
			}
			quiet.Reset(2 * time.Second)
		case <-quiet.C:
			d.silent.Store(false)
			p.await("WATCHDOG=1")
			return
		}
	}
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
