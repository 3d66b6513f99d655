package procs

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := parse([]byte("42 (a) b (c) S 7 42 42 0 -1 4194560 100 0 0 0 150 50 9 9 20 0 8 0 100\n"))
	if want := (Process{PID: 42, Parent: 7, Name: "a) b (c", CPU: 2 * time.Second}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "42 no name S 7", "42 (short) S 7 1", "x (name) S 7 42 42 0 -1 4194560 100 0 0 0 150 50 9"} {
		if p, err := parse([]byte(bad)); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, p)
		}
	}
}

func TestCPU(t *testing.T) {
	t.Parallel()
	before := []Process{{PID: 1, Name: "gateway", CPU: 10 * time.Second}, {PID: 2, Name: "server", CPU: time.Second}, {PID: 3, Name: "gateway", CPU: time.Hour}}
	after := []Process{{PID: 1, Name: "gateway", CPU: 12 * time.Second}, {PID: 2, Name: "server", CPU: 5 * time.Second}, {PID: 4, Name: "gateway", CPU: time.Second}}
	for name, want := range map[string]time.Duration{"gateway": 3 * time.Second, "server": 4 * time.Second, "other": 0} {
		if got := CPU(before, after, func(p Process) bool { return p.Name == name }); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

// A real child that does nothing but count uses what its clock says, and is in the tree.
func TestRealChild(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sh", "-c", "echo; while :; do :; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	out.Read(make([]byte, 1))
	child := func(p Process) bool { return p.PID == cmd.Process.Pid }
	before, err := Tree(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		after, err := Tree(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		used := CPU(before, after, child)
		if used >= 50*time.Millisecond {
			memory, err := MemoryOf(after, child)
			if err != nil || memory.RSS < 1<<16 || memory.PSS > memory.RSS || memory.PSS == 0 {
				t.Errorf("got memory %+v, %v", memory, err)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it used %v in half a minute", used)
		}
	}
}

func TestTreeOfNobody(t *testing.T) {
	t.Parallel()
	if _, err := Tree(1 << 30); err == nil {
		t.Error("got no error for a process that is not there")
	}
}
