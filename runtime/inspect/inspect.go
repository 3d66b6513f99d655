// Package inspect reads the kernel's own view of a running sandbox and compares
// it, fact by fact, with the profile that it runs under. It does not know how a
// sandbox is made: what it expects is written here a second time, so that a
// mistake there finds no excuse here. What can't be read is never called good. It
// changes nothing, and shows no value of a variable.
//
// Runs in: CLI.
package inspect

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"mcpgateway/policy/profile"
)

// Subject is a sandbox to look at, and what it is expected to be.
type Subject struct {
	ID          string          // as the daemon lists it
	Project     string          // likewise
	PID         int             // of its first process
	UID         int             // of its processes, on the host
	Profile     profile.Profile // what it runs under
	Mounts      []Mount         // of the image, the server and its directories
	Links       []string        // symbolic links at the top of the root
	Environment []string        // names of the variables that it starts with
	Others      []int           // first processes of the other sandboxes that run
}

// Mount is a file or folder of the host that shows inside.
type Mount struct {
	Source   string // on the host; "" if it is the gateway's own
	Target   string
	Writable bool
	NoExec   bool // that what is writable can't be executed goes without saying
	Mapped   bool // the owner on the host shows as the server's user
}

// Result says how a fact came out.
type Result string

// The results. All but OK and NotVisible are differences.
const (
	OK         Result = "ok"
	Differs    Result = "differs"
	Unreadable Result = "unreadable"  // the kernel or the file system did not answer
	NotVisible Result = "not visible" // the kernel shows it to nobody: neither good nor bad
)

// Finding is one fact of a running sandbox.
type Finding struct {
	Section string  `json:"section"`
	Fact    string  `json:"fact"`
	Want    string  `json:"want"`
	Got     string  `json:"got"`
	Result  Result  `json:"result"`
	Where   string  `json:"where"`  // the file it was read from, below the process's folder in /proc unless absolute
	Points  float64 `json:"points"` // what it adds to the exposure; zero unless it is a difference
}

// Difference reports whether the fact is not as it should be, or could not be read.
func (f Finding) Difference() bool { return f.Result == Differs || f.Result == Unreadable }

// ErrEnded says that the sandbox ended before everything was read.
var ErrEnded = errors.New("it ended while it was looked at")

// Inspect looks at a running sandbox. It needs root: the kernel shows the open
// descriptors and the namespaces of a process to few. All findings are of the same
// processes, for a process id that was given to another in the meantime is noticed.
func Inspect(s Subject) ([]Finding, error) {
	findings, err := inspect(s)
	if err != nil {
		return nil, fmt.Errorf("inspect sandbox %q: %w", s.ID, err)
	}
	return findings, nil
}

func inspect(s Subject) ([]Finding, error) {
	// Held open from before the first read until after the last one, it says
	// whether the process that had this number is still the one that has it.
	pidfd, err := unix.PidfdOpen(s.PID, 0)
	if vanished(err) {
		return nil, ErrEnded
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", s.PID, err)
	}
	defer unix.Close(pidfd)
	a := &audit{Subject: s, proc: "/proc", socketOf: socketOf, devicePrograms: devicePrograms, landlock: landlockVersion}
	a.inside = root(a.path(s.PID, "root"))
	a.place = func(path string) (entry, error) { return lookAt(unix.AT_FDCWD, path) }
	err = a.run()
	poll := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	switch n, pollErr := unix.Poll(poll, 0); {
	case pollErr != nil:
		return nil, fmt.Errorf("watch process %d: %w", s.PID, pollErr)
	case n > 0:
		return nil, ErrEnded
	}
	return a.findings, err
}

// audit is one sandbox that is being looked at.
type audit struct {
	Subject
	proc string // where procfs is mounted; elsewhere in tests
	// What only system calls tell.
	socketOf       func(pid, fd int) (socket, error)
	inside         inside
	place          func(path string) (entry, error) // of a link in /proc, or of what is open
	devicePrograms func(cgroup string) (int, error)
	landlock       func() (version int, err error)

	first       process
	processes   []process
	settled     bool    // no process was new when they were listed for the last time
	mounts      []mount // that the sandbox sees
	host        []mount // that this process sees
	descriptors []descriptor
	findings    []Finding
}

func (a *audit) run() error {
	if err := a.collect(); err != nil {
		return err
	}
	a.checkProcesses()
	a.checkIDs()
	a.checkPrivileges()
	a.checkSyscalls()
	a.checkLandlock()
	a.checkNamespaces()
	a.checkMounts()
	a.checkFiles()
	a.checkRlimits()
	a.checkCgroups()
	a.checkNetwork()
	a.checkDescriptors()
	a.checkEnvironment()
	return nil
}

// path is a file below a process's folder.
func (a *audit) path(pid int, name string) string {
	return filepath.Join(a.proc, strconv.Itoa(pid), name)
}

// base is the first id of the sandbox on the host.
func (a *audit) base() int { return a.UID - insideUID }

// owns reports whether a host id is one of the sandbox's.
func (a *audit) owns(id int) bool {
	return id >= a.base() && id < a.base()+a.Profile.Namespaces.IDs
}

// fact is what is expected, before it is looked at.
type fact struct {
	section string
	name    string
	want    string
	where   string
	points  float64
}

// expect records that got is to be what is wanted, to the letter.
func (a *audit) expect(f fact, got string, err error) {
	a.judge(f, got, got == f.want, err)
}

func (a *audit) judge(f fact, got string, ok bool, err error) {
	finding := Finding{Section: f.section, Fact: f.name, Want: f.want, Got: got, Where: f.where, Result: OK}
	switch {
	case err != nil:
		finding.Got, finding.Result, finding.Points = err.Error(), Unreadable, f.points
	case !ok:
		finding.Result, finding.Points = Differs, f.points
	}
	a.findings = append(a.findings, finding)
}

// hidden records what the kernel does not tell.
func (a *audit) hidden(f fact, why string) {
	a.findings = append(a.findings, Finding{Section: f.section, Fact: f.name, Want: f.want, Got: why, Where: f.where, Result: NotVisible})
}
