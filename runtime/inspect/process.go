package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideUID is the user, and insideGID the group, that a server is inside.
const (
	insideUID = 1000
	insideGID = 1000
)

// process is what /proc tells of one process (proc_pid(5)).
type process struct {
	pid        int
	status     map[string]string // of its first thread
	start      string            // in ticks since the host started: tells it from a later one of that number
	name       string
	owner      int                 // of the files in its folder
	threads    []map[string]string // status of each
	limits     map[string]limit
	namespaces map[string]string
	cgroup     string
	oom        string
	login      string
	label      string
	links      map[string]string // open descriptors and what they are
	err        error             // the first that could not be read
}

func (p process) String() string { return fmt.Sprintf("process %d (%s)", p.pid, p.name) }

func (p process) parent() string { return p.status["PPid"] }

// vanished reports whether an error says that the process has ended.
func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
}

// listings is how often the processes are listed until no new one shows up.
const listings = 8

// collect reads every process of the sandbox: those in its pid namespace, in its
// cgroups or with its ids. Any of the three makes one, so that one that left the
// others is found.
func (a *audit) collect() error {
	seen := map[int]process{}
	for range listings {
		pids, err := a.members()
		if err != nil {
			return fmt.Errorf("find its processes: %w", err)
		}
		maps.DeleteFunc(seen, func(pid int, _ process) bool { return !slices.Contains(pids, pid) })
		fresh := 0
		for _, pid := range pids {
			if start, err := a.startOf(pid); err == nil && seen[pid].start == start {
				continue
			}
			p, alive := a.read(pid)
			if alive {
				seen[pid], fresh = p, fresh+1
			}
		}
		if a.settled = fresh == 0; a.settled {
			break
		}
	}
	for _, pid := range slices.Sorted(maps.Keys(seen)) {
		a.processes = append(a.processes, seen[pid])
	}
	first, ok := seen[a.PID]
	if !ok {
		return ErrEnded
	}
	a.first = first
	return nil
}

// members are the ids of the sandbox's processes.
func (a *audit) members() ([]int, error) {
	pids, err := a.pids()
	if err != nil {
		return nil, err
	}
	namespace, err := os.Readlink(a.path(a.PID, "ns/pid"))
	cgroups, cgroupErr := os.ReadFile(a.path(a.PID, "cgroup"))
	err = errors.Join(err, cgroupErr)
	if vanished(err) {
		return nil, ErrEnded
	}
	if err != nil {
		return nil, err
	}
	var found []int
	for _, pid := range pids {
		switch member, err := a.isMember(pid, namespace, string(cgroups)); {
		case vanished(err):
		case err != nil:
			return nil, err
		case member:
			found = append(found, pid)
		}
	}
	return found, nil
}

// pids are the ids of the host's processes.
func (a *audit) pids() ([]int, error) {
	entries, err := os.ReadDir(a.proc)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// isMember reports whether a process is one of the sandbox's. It asks what
// everybody may read of it first: the namespaces of some are closed even to root.
// namespace and cgroups are the first process's.
func (a *audit) isMember(pid int, namespace, cgroups string) (bool, error) {
	if pid == a.PID {
		return true, nil
	}
	status, err := readStatus(a.path(pid, "status"))
	if err != nil {
		return false, err
	}
	for field := range strings.FieldsSeq(status["Uid"]) {
		if id, err := strconv.Atoi(field); err != nil || a.owns(id) {
			return true, nil
		}
	}
	cgroup, err := os.ReadFile(a.path(pid, "cgroup"))
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(cgroup)) {
		if strings.HasSuffix(strings.TrimSpace(line), a.cgroupSuffix()) && strings.Contains(cgroups, line) {
			return true, nil
		}
	}
	if len(strings.Fields(status["NSpid"])) == 1 {
		return false, nil // in the pid namespace that /proc is of: the host's
	}
	link, err := os.Readlink(a.path(pid, "ns/pid"))
	return link == namespace, err
}

func (a *audit) startOf(pid int) (string, error) {
	content, err := os.ReadFile(a.path(pid, "stat"))
	if err != nil {
		return "", err
	}
	return parseStart(string(content))
}

// read reads one process. If it ends meanwhile, it is not alive; what else can't
// be read is in the process's err, and missing.
func (a *audit) read(pid int) (p process, alive bool) {
	p = process{pid: pid}
	keep := func(err error) {
		if p.err == nil {
			p.err = err
		}
	}
	text := func(name string) string {
		content, err := os.ReadFile(a.path(pid, name))
		keep(err)
		return strings.TrimSpace(string(content))
	}
	var err error
	p.start, err = a.startOf(pid)
	keep(err)
	p.name = strconv.Quote(text("comm")) // the server chose it
	p.status, err = readStatus(a.path(pid, "status"))
	keep(err)
	p.threads, err = a.readThreads(pid)
	keep(err)
	if ended, err := p.ended(); ended || err != nil {
		p.err = errors.Join(p.err, err)
		return p, !ended
	}
	p.limits, err = parseLimits(text("limits"))
	keep(err)
	p.namespaces, err = readLinks(a.path(pid, "ns"))
	keep(err)
	p.links, err = readLinks(a.path(pid, "fd"))
	keep(err)
	p.cgroup, p.oom, p.login = text("cgroup"), text("oom_score_adj"), text("loginuid")
	p.label, err = readLabel(a.path(pid, "attr/current"))
	keep(err)
	e, err := a.place(a.path(pid, "status"))
	keep(err)
	p.owner = e.uid

	start, err := a.startOf(pid)
	if vanished(err) || err == nil && start != p.start {
		return p, false
	}
	keep(err)
	return p, true
}

// ended reports whether nothing of a process is left but its exit status. One
// whose first thread has ended shows no open files of the others, nor anything
// else in its folder, so it can't be judged.
func (p process) ended() (bool, error) {
	if !strings.HasPrefix(p.status["State"], "Z") {
		return false, nil
	}
	for _, state := range p.all("State") {
		if !strings.HasPrefix(state, "Z") {
			return false, errors.New("its first thread has ended and others run on")
		}
	}
	return true, nil
}

// readThreads reads the status of every thread: a system-call filter and
// capabilities are a thread's, not a process's.
func (a *audit) readThreads(pid int) ([]map[string]string, error) {
	paths, err := filepath.Glob(a.path(pid, "task/*/status"))
	if err != nil {
		return nil, err
	}
	var threads []map[string]string
	for _, path := range paths {
		status, err := readStatus(path)
		if vanished(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		threads = append(threads, status)
	}
	if len(threads) == 0 {
		return nil, fmt.Errorf("process %d shows no thread", pid)
	}
	return threads, nil
}

func readStatus(path string) (map[string]string, error) {
	content, err := os.ReadFile(path)
	return parseStatus(string(content)), err
}

// readLinks reads the links in a folder of a process.
func readLinks(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	links := map[string]string{}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if vanished(err) {
			continue // a descriptor that was closed
		}
		if err != nil {
			return nil, err
		}
		links[e.Name()] = target
	}
	return links, nil
}

// readLabel reads what the security module says of a process; "" where there is
// none, which the kernel tells by EINVAL.
func readLabel(path string) (string, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, syscall.EINVAL) {
		return "", nil
	}
	return strings.TrimRight(strings.TrimSpace(string(content)), "\x00"), err
}

// parseStatus reads /proc/PID/status: fields by name.
func parseStatus(text string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.TrimSpace(value)
	}
	return fields
}

// parseStart takes the start time out of /proc/PID/stat. A process chooses its own
// name, which stands in parentheses and may hold some.
func parseStart(stat string) (string, error) {
	const startField = 22 - 3 // counted from the one behind the name
	fields := strings.Fields(stat[strings.LastIndex(stat, ")")+1:])
	if len(fields) <= startField {
		return "", errors.New("stat has too few fields")
	}
	return fields[startField], nil
}

// every judges one value of every process. The finding shows the values that are
// there, or the first process that differs.
func (a *audit) every(f fact, value func(process) []string, ok func(string) bool) {
	var values []string
	for _, p := range a.processes {
		for _, v := range value(p) {
			if !ok(v) {
				a.judge(f, fmt.Sprintf("%s in %s", orNone(v), p), false, p.err)
				return
			}
			values = append(values, v)
		}
	}
	slices.Sort(values)
	a.judge(f, orNone(strings.Join(slices.Compact(values), ", ")), true, nil)
}

// everyThread expects a field of status to be the same in every thread.
func (a *audit) everyThread(f fact, field string) {
	a.every(f, func(p process) []string { return p.all(field) }, func(v string) bool { return v == f.want })
}

// all are a field of status of every thread.
func (p process) all(field string) []string {
	var values []string
	for _, thread := range p.threads {
		value, ok := thread[field]
		if !ok {
			value = "nothing"
		}
		values = append(values, value)
	}
	return values
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

func (a *audit) checkProcesses() {
	const section = "processes"
	var unread error
	for _, p := range a.processes {
		if p.err != nil && unread == nil {
			unread = fmt.Errorf("%s: %w", p, p.err)
		}
	}
	threads := 0
	for _, p := range a.processes {
		threads += len(p.threads)
	}
	a.judge(fact{section, "can be read", "all", "/proc", 5}, fmt.Sprintf("%d processes, %d threads", len(a.processes), threads), true, unread)
	inside := strings.Fields(a.first.status["NSpid"])
	got := "none"
	if len(inside) > 1 {
		got = inside[len(inside)-1]
	}
	a.judge(fact{section, "first process's number inside", "1", "status", 3}, got, got == "1" && len(inside) == 2, nil)
	got = "nothing new"
	if !a.settled {
		got = "always more"
	}
	a.expect(fact{section, "listed until", "nothing new", "/proc", 3}, got, nil)
}

// Parent returns the process that started another: of a sandbox's first process,
// the daemon.
func Parent(pid int) (int, error) {
	status, err := readStatus(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if vanished(err) {
		return 0, ErrEnded
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(status["PPid"])
}
