package sandbox_test

import (
	"bufio"
	"os"
	"testing"
	"time"
)

// TestUsage: the kernel's count of what a sandbox uses, while it runs and at its end.
func TestUsage(t *testing.T) {
	s := spec(t, "/bin/sh", "-c", "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; echo done; read line; i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done")
	s.Limits.CPU = 0.2
	box := start(t, s)
	out := bufio.NewReader(box.stdout)
	if line, err := out.ReadString('\n'); err != nil || line != "done\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	before := box.Usage()
	if before.CPU <= 10*time.Millisecond || before.Memory <= 0 || before.MemoryPeak < before.Memory || before.PIDs < 1 {
		t.Errorf("got %+v while it runs", before)
	}
	if before.Throttled <= 0 || before.ThrottledPeriods == 0 || before.ThrottledPeriods > before.Periods {
		t.Errorf("got %+v, want that it came to a limit of a fifth of a CPU", before)
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil && before.StalledCPU <= 0 {
		t.Errorf("got %+v, want that it waited for CPU", before)
	}
	if _, err := box.stdin.WriteString("on\n"); err != nil {
		t.Fatal(err)
	}
	<-box.Done()
	if after := box.Usage(); after.CPU < before.CPU+10*time.Millisecond {
		t.Errorf("got %s of CPU in all, and %s before the second half", after.CPU, before.CPU)
	}
}
