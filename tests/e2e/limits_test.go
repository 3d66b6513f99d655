package e2e_test

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
)

// TestLimits looks for a server's limits and its project's in the host's cgroups.
func TestLimits(t *testing.T) {
	t.Parallel()
	g := start(t,
		"resources: {max_memory_mb: 100}\n",
		"projects:\n  alpha: {resources: {max_memory_mb: 300, max_cpu: 1.5, max_pids: 90}}\n",
		servers(testserver("own", "project: alpha", "eager: true", "resources: {max_memory_mb: 64, max_cpu: 0.5, max_pids: 40}"),
			testserver("default", "eager: true")))
	own, standard := g.only(t, "own").launcher, g.only(t, "default").launcher
	unified := len(procFile(own, "cgroup")) > 0 && regexp.MustCompile(`^0::[^\n]*\n$`).MatchString(procFile(own, "cgroup"))
	// cpu.max holds quota and period, and "max" is no limit (cgroup-v2.rst).
	cpu := func(quota string) string {
		if unified {
			return quota + " 100000"
		}
		return quota
	}
	tests := []struct {
		name               string
		pid, up            int
		controller, v1, v2 string
		want               string
	}{
		{"server memory", own, 0, "memory", "memory.limit_in_bytes", "memory.max", strconv.Itoa(64 << 20)},
		{"server cpu", own, 0, "cpu", "cpu.cfs_quota_us", "cpu.max", cpu("50000")},
		{"server pids", own, 0, "pids", "pids.max", "pids.max", "40"},
		{"project memory", own, 1, "memory", "memory.limit_in_bytes", "memory.max", strconv.Itoa(300 << 20)},
		{"project cpu", own, 1, "cpu", "cpu.cfs_quota_us", "cpu.max", cpu("150000")},
		{"project pids", own, 1, "pids", "pids.max", "pids.max", "90"},
		{"default memory", standard, 0, "memory", "memory.limit_in_bytes", "memory.max", strconv.Itoa(100 << 20)},
		{"default cpu", standard, 0, "cpu", "cpu.cfs_quota_us", "cpu.max", cpu("100000")},
		{"default pids", standard, 0, "pids", "pids.max", "pids.max", "256"},
		{"other project pids", standard, 1, "pids", "pids.max", "pids.max", "max"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := limit(t, tt.pid, tt.up, tt.controller, tt.v1, tt.v2); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestForkBomb has a server start as many processes as it can.
func TestForkBomb(t *testing.T) {
	t.Parallel()
	const most = 40
	g := start(t, servers(testserver("good"), testserver("bomb", fmt.Sprintf("resources: {max_pids: %d}", most))))
	s := g.open(t, "bomb")
	i := g.only(t, "bomb")
	// The server's own runtime may need a thread that it does not get, and end it:
	// then the sandbox is gone, which stops the bomb as well.
	a := s.call(t, "forkbomb", `{"n":1000}`)
	started := regexp.MustCompile(`started (\d+) processes; the next: [^"]*resource temporarily unavailable`).FindSubmatch(a.message)
	if started == nil {
		t.Fatalf("got %s, want a note of how many started before the limit", a.message)
	}
	if n, err := strconv.Atoi(string(started[1])); err != nil || n < 1 || n >= most {
		t.Errorf("started: got %s, want 1 to %d", started[1], most-1)
	}
	if got := len(processesOf(i.uid, 1)); got > most {
		t.Errorf("processes of the sandbox: got %d, want at most %d", got, most)
	}
	g.checkWell(t)
	s.end(t)
	g.gone(t, i)
}

// TestProjectCeiling has two servers of a project, each within its own limit,
// want more together than the project has.
func TestProjectCeiling(t *testing.T) {
	t.Parallel()
	const ceiling = 60
	g := start(t, fmt.Sprintf("projects:\n  alpha: {resources: {max_pids: %d}}\n", ceiling),
		servers(testserver("good"), testserver("a", "project: alpha", "resources: {max_pids: 50}"), testserver("b", "project: alpha", "resources: {max_pids: 50}")))
	a, b := g.open(t, "a"), g.open(t, "b")
	running := []instance{g.only(t, "a"), g.only(t, "b")}
	a.call(t, "forkbomb", `{"n":15}`)
	b.call(t, "forkbomb", `{"n":1000}`)
	together := 0
	for _, i := range running {
		together += len(processesOf(i.uid, 1))
	}
	if together > ceiling {
		t.Errorf("processes of the project: got %d, want at most %d", together, ceiling)
	}
	g.checkWell(t)
}
