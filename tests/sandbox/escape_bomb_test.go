package sandbox_test

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"mcpgateway/sandbox"
)

// bombs take N of something, with and without the one limit that shall stop them.
// Sizes are in MiB.
var bombs = []struct {
	arguments   string
	tight, wide sandbox.Limits
	want        string // what it says within the tight limit; "": it is ended for memory
}{
	{"memory 150", memory(48), memory(512), ""},
	{"memfd 150", memory(48), memory(512), ""},
	{"pipes 60", memory(32), memory(512), ""},
	{"sockets 150", memory(48), memory(512), ""},
	{"shared 150", memory(48), memory(512), ""},
	{"files 150 /tmp", memory(48), memory(512), ""},
	{"processes 80", processes(30), processes(200), "EAGAIN"},
	{"zombies 80", processes(30), processes(200), "EAGAIN"},
}

func memory(size int64) sandbox.Limits    { return sandbox.Limits{MemoryBytes: size << 20, PIDs: 64} }
func processes(most int64) sandbox.Limits { return sandbox.Limits{MemoryBytes: 1 << 30, PIDs: most} }

func escapeByBombs(t *testing.T) {
	neighbour := start(t, spec(t, "/bin/cat"))
	for _, b := range bombs {
		arguments := append([]string{"bomb"}, strings.Fields(b.arguments)...)
		s := attack(t, arguments...)
		s.Limits = b.tight
		got := runToEnd(t, s)
		if b.want == "" && (!got.exit.OOM || got.stdout != "") || b.want != "" && !strings.HasSuffix(got.stdout, " "+b.want+"\n") {
			t.Errorf("%s: got %q, %.200q, %+v, want %q", b.arguments, got.stdout, got.stderr, got.exit, b.want)
		}
		s = attack(t, arguments...)
		s.Limits = b.wide
		if got := runToEnd(t, s); got.stdout != arguments[2]+" ok\n" {
			t.Errorf("%s: got %q, %.200q with a wide limit: this proves nothing", b.arguments, got.stdout, got.stderr)
		}
	}
	fmt.Fprintln(neighbour.stdin, "well")
	if got := firstLine(t, neighbour.stdout); got != "well" {
		t.Errorf("the neighbour answers %q", got)
	}
}

// escapeByThreads: each counts as a process does.
func escapeByThreads(t *testing.T) {
	s := attack(t, "bomb", "threads", "150")
	s.Limits = processes(30)
	if got := runToEnd(t, s); got.stdout != "" || !strings.Contains(got.stderr, "failed to create new OS thread") {
		t.Errorf("got %q, %.200q", got.stdout, got.stderr)
	}
	s = attack(t, "bomb", "threads", "150")
	s.Limits = processes(300)
	if got := runToEnd(t, s); got.stdout != "150 ok\n" {
		t.Errorf("got %q, %.200q with a wide limit: this proves nothing", got.stdout, got.stderr)
	}
}

// escapeByFilling takes what has a limit of its own beside memory. Outside, the
// same program gets more.
func escapeByFilling(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "mcp-gateway-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, b := range []struct {
		bomb, where, want string
	}{
		{"files 70", "/dev/shm", "ENOSPC"},
		{"files 70", "/tmp", "ENOSPC"},
		{"inodes 20000", "/dev/shm", "ENOSPC"},
		{"inodes 20000", "/tmp", "ENOSPC"},
		{"descriptors 5000", "", "EMFILE"},
		{"locked 1", "", "ENOMEM"},
	} {
		arguments := append([]string{"bomb"}, strings.Fields(b.bomb)...)
		s := attack(t, append(arguments, b.where)...)
		s.Limits, s.TmpSize, s.ShmSize = memory(512), 64<<20, 64<<20
		if got := runToEnd(t, s); !strings.HasSuffix(got.stdout, " "+b.want+"\n") {
			t.Errorf("%s %s: got %q, %.200q, %+v, want %s", b.bomb, b.where, got.stdout, got.stderr, got.exit, b.want)
		}
		out := outsideHere(t, append(arguments, dir)...)
		if out != arguments[2]+" ok" {
			t.Errorf("%s outside: got %q: this proves nothing", b.bomb, out)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// escapeByBurning: a server that keeps processors busy does not slow its neighbour
// to less than half. The same in the neighbour's own sandbox does.
func escapeByBurning(t *testing.T) {
	neighbour, burner := attack(t, "latency", "40"), attack(t, "burn", "6")
	burner.Limits.CPU = 0.5
	box := start(t, neighbour)
	answers := bufio.NewReader(box.stdout)
	var quiet, loud []int
	for range 3 {
		median, _ := latency(t, box, answers)
		quiet = append(quiet, median)
		burner.ID += "x"
		burning := start(t, burner)
		firstLine(t, burning.stdout)
		median, _ = latency(t, box, answers)
		loud = append(loud, median)
		burning.Kill()
	}
	// Others use this machine too: the best of each is what it can do.
	if before, after := slices.Min(quiet), slices.Min(loud); after > 2*before {
		t.Errorf("a neighbour's work took %d µs, and %d beside a burner (%v, %v)", before, after, quiet, loud)
	}
	together := spec(t, "/bin/sh", "-c", "/srv/attack burn 6 >/tmp/ready & until [ -s /tmp/ready ]; do sleep 0.1; done; exec /srv/attack latency 20")
	together.Mounts = neighbour.Mounts
	box = start(t, together)
	// The scheduler lets it do several pieces at a time, and then wait: the median may
	// not show that.
	if _, got := latency(t, box, bufio.NewReader(box.stdout)); got < 2*slices.Min(quiet) {
		t.Errorf("work took %d µs beside burners in the same sandbox, %d without: this proves nothing", got, slices.Min(quiet))
	}
}

func latency(t *testing.T, box running, answers *bufio.Reader) (median, mean int) {
	t.Helper()
	fmt.Fprintln(box.stdin, "go")
	line, err := answers.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(line, &median, &mean); err != nil {
		t.Fatal(err)
	}
	return median, mean
}
