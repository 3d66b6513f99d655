package e2e_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"mcpgateway/tests/hostids"
)

// processes are the ids of all processes of the host.
func processes() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// procFile reads a file of a process; "" if the process has ended.
func procFile(pid int, name string) string {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		return ""
	}
	return string(content)
}

// status is /proc/PID/status by name (proc_pid_status(5)); empty if the process
// has ended.
func status(pid int) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(procFile(pid, "status")) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.TrimSpace(value)
	}
	return fields
}

// ids are the numbers of a line of status: real, effective, saved and file system
// id.
func ids(line string) []int {
	var numbers []int
	for field := range strings.FieldsSeq(line) {
		n, err := strconv.Atoi(field)
		if err != nil {
			return nil
		}
		numbers = append(numbers, n)
	}
	return numbers
}

// childNamed finds a process by its parent and its program's name.
func childNamed(parent int, name string) (pid int, ok bool) {
	for _, pid := range processes() {
		program, _, _ := strings.Cut(procFile(pid, "cmdline"), "\x00")
		if filepath.Base(program) == name && status(pid)["PPid"] == strconv.Itoa(parent) {
			return pid, true
		}
	}
	return 0, false
}

// processesOf are the processes with a host id in a range.
func processesOf(first, count int) []int {
	return slices.DeleteFunc(processes(), func(pid int) bool {
		return !slices.ContainsFunc(ids(status(pid)["Uid"]), func(id int) bool { return id >= first && id < first+count })
	})
}

// sandboxed are the processes in the gateway's sandboxes, as the host sees them.
func (g *gateway) sandboxed() []int { return processesOf(g.firstID, hostids.Ranges*hostids.PerRange) }

// server is the process that a sandbox's launcher has started.
func (i instance) serverPID(t *testing.T) int {
	t.Helper()
	for _, pid := range processesOf(i.uid, 1) {
		if status(pid)["PPid"] == strconv.Itoa(i.launcher) {
			return pid
		}
	}
	t.Fatalf("the sandbox of %q has no server in it", i.server)
	return 0
}

// all are the processes of the gateway: those inside, those that name its
// folders, and those in its cgroups.
func (g *gateway) all() []int {
	found := g.sandboxed()
	for _, pid := range processes() {
		command := procFile(pid, "cmdline")
		if strings.Contains(command, g.dir+"/") || strings.Contains(command, g.runDir+"/") || strings.Contains(procFile(pid, "cgroup"), "/"+g.cgroup()+"/") {
			found = append(found, pid)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// cgroup is the name of the folder of the gateway's cgroups.
func (g *gateway) cgroup() string { return fmt.Sprintf("mcp-gateway-%d", g.daemon) }

func (g *gateway) cgroups() []string {
	return cgroupsNamed(regexp.MustCompile("^" + g.cgroup() + "$"))
}

// view is the host before the gateway ends.
type view struct {
	processes  []int
	namespaces map[string]bool // of the gateway's processes, and not of this one
}

func (g *gateway) inspect() view {
	v := view{processes(), map[string]bool{}}
	for _, pid := range g.all() {
		for _, name := range namespacesOf(pid) {
			v.namespaces[name] = true
		}
	}
	for _, name := range namespacesOf(os.Getpid()) {
		delete(v.namespaces, name)
	}
	return v
}

// namespacesOf are a process's namespaces, such as "net:[4026531840]"
// (namespaces(7)).
func namespacesOf(pid int) []string {
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/ns/*", pid))
	if err != nil {
		return nil
	}
	var names []string
	for _, link := range links {
		if name, err := os.Readlink(link); err == nil {
			names = append(names, name)
		}
	}
	return names
}

// checkNothingLeft asserts that the gateway has left no process, folder, mount,
// cgroup or namespace.
func (g *gateway) checkNothingLeft(t *testing.T, before view) {
	t.Helper()
	for _, pid := range g.all() {
		t.Errorf("process %d is left: %q", pid, procFile(pid, "cmdline"))
		_ = unix.Kill(pid, unix.SIGKILL) // it shall not outlive a failed test; it may be gone
	}
	if _, err := os.Lstat(g.runDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("folder %s is left (%v)", g.runDir, err)
	}
	if _, err := os.Lstat(filepath.Join(g.state(), "control.sock")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state folder's control.sock is left (%v)", err)
	}
	for _, path := range g.cgroups() {
		t.Errorf("cgroup %s is left", path)
	}
	for _, pid := range processes() {
		checkMounts(t, pid, g.dir, g.runDir)
		// Who came later may be in a new namespace with the number of an old one.
		if slices.Contains(before.processes, pid) {
			checkNamespaces(t, pid, before.namespaces)
		}
	}
}

// checkNamespaces asserts that a process is in none of these namespaces, and sees
// none of them mounted.
func checkNamespaces(t *testing.T, pid int, gone map[string]bool) {
	t.Helper()
	for _, name := range namespacesOf(pid) {
		if gone[name] {
			t.Errorf("namespace %s is left: process %d is in it", name, pid)
		}
	}
	for line := range strings.Lines(procFile(pid, "mountinfo")) {
		if fields := strings.Fields(line); len(fields) > 3 && gone[fields[3]] {
			t.Errorf("namespace %s is left: it is mounted: %s", fields[3], line)
		}
	}
}

func checkMounts(t *testing.T, pid int, dirs ...string) {
	t.Helper()
	for line := range strings.Lines(procFile(pid, "mountinfo")) {
		if slices.ContainsFunc(dirs, func(dir string) bool { return strings.Contains(line, dir) }) {
			t.Errorf("process %d sees a mount that is left: %s", pid, line)
		}
	}
}

// cgroupsNamed are the cgroups with such a name, in every hierarchy.
func cgroupsNamed(name *regexp.Regexp) []string {
	var found []string
	// Cgroups of others come and go meanwhile: an error means one that went.
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && name.MatchString(entry.Name()) {
			found = append(found, path)
			return fs.SkipDir
		}
		return nil
	})
	return found
}

// limit reads a limit from a process's cgroup or, if up is above 0, from one so
// many steps above: on cgroup v1 the file v1 of a controller, on cgroup v2 the
// file v2.
func limit(t *testing.T, pid, up int, controller, v1, v2 string) string {
	t.Helper()
	dir, file := "", v2
	for line := range strings.Lines(procFile(pid, "cgroup")) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case slices.Contains(strings.Split(parts[1], ","), controller):
			dir, file = filepath.Join("/sys/fs/cgroup", parts[1], parts[2]), v1
		case parts[0] == "0" && dir == "":
			dir = filepath.Join("/sys/fs/cgroup", parts[2])
		}
	}
	for range up {
		dir = filepath.Dir(dir)
	}
	content, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(content))
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// shell runs a line as a user would.
func shell(t *testing.T, line string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", line).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v", line, err)
	}
	return string(out)
}
