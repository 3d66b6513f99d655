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
		{control.Exit{Server: "s", Status: 139, Lived: time.Second}, `server "s" was ended by signal 11 after 1s`},
		{control.Exit{Server: "s", Status: 137, OOM: true, MemoryLimitMB: 64}, `server "s" was ended for using more than its memory limit of 64 MB`},
		{control.Exit{Server: "s", Status: 143, Stopped: true}, `server "s" was stopped`},
	}
	for _, tt := range tests {
		if got := describe(tt.exit); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
