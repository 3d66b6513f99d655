package backend

import (
	"testing"
	"time"

	"mcpgateway/runtime/control"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	tests := []struct {
		exit control.Exit
		want string
	}{
		{control.Exit{Server: "s", Status: 3, Lived: 1500 * time.Millisecond}, `server "s" exited with status 3 after 1.5s`},
		{control.Exit{Server: "s", Status: 255, Lived: time.Second}, `server "s" exited with status 255 after 1s`},
		{control.Exit{Server: "s", Status: 139, Signal: 11, Lived: time.Second}, `server "s" was ended by signal 11 (SIGSEGV) after 1s`},
		{control.Exit{Server: "s", Status: 168, Signal: 40, Lived: time.Second}, `server "s" was ended by signal 40 after 1s`},
		{control.Exit{Server: "s", Status: 159, Signal: 31}, `server "s" was ended: it made a system call that its profile does not allow (SIGSYS)`},
		{control.Exit{Server: "s", Status: 152, Signal: 24, CPULimit: 90 * time.Second}, `server "s" was ended: it used more CPU time than its profile allows (time.cpu = 1m30s)`},
		{control.Exit{Server: "s", Status: 153, Signal: 25, FileLimit: 16 << 20}, `server "s" was ended: it wrote a larger file than its profile allows (rlimits.fsize = 16 MiB)`},
		{control.Exit{Server: "s", Status: 137, Signal: 9, OOM: true, MemoryLimit: 64 << 20}, `server "s" was ended: it reached its memory limit of 64 MiB`},
		{control.Exit{Server: "s", Status: 137, Signal: 9, OOM: true, MemoryLimit: 64<<20 + 4096}, `server "s" was ended: it reached its memory limit of 67112960 bytes`},
		{
			control.Exit{Server: "s", Status: 137, Signal: 9, OOM: true, MemoryLimit: 1 << 30, Project: "p"},
			`server "s" was ended: its project "p" reached its memory limit of 1024 MiB`,
		},
		{control.Exit{Server: "s", Status: 137, Signal: 9, OOM: true}, `server "s" was ended: the host was out of memory`},
		{
			control.Exit{Server: "s", Status: 137, Signal: 9, TimeLimit: 90 * time.Minute},
			`server "s" was ended: it ran for longer than its profile allows (time.run = 1h30m0s)`,
		},
		{
			control.Exit{Server: "s", Status: 1, PIDLimit: 64, Lived: time.Second},
			`server "s" exited with status 1 after 1s; it had reached its limit of 64 processes and threads`,
		},
		{control.Exit{Server: "s", Status: 143, Signal: 15, Stopped: true, PIDLimit: 64}, `server "s" was stopped`},
	}
	for _, tt := range tests {
		if got := describe(tt.exit); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
