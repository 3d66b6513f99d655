// Package sandbox turns a Spec into a running sandbox: a process tree with its
// own user, mount, pid, net, ipc, uts and cgroup namespaces, a read-only root, no
// capability, a system-call filter and cgroup limits. What the host cannot
// enforce keeps the sandbox from starting. It reads nothing that a process inside
// wrote.
//
// Runs in: daemon.
package sandbox

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Of Host.Dir: the program that runs first, and what shows where something is hidden.
const (
	launcherFile = "mcp-gateway-launch"
	emptyFile    = "empty-file"
	emptyDir     = "empty-dir"
)

// Host is what all sandboxes of one daemon share.
type Host struct {
	Dir      string // an existing folder of root's that everybody may pass through (mode 0711)
	Launcher string // path of the mcp-gateway-launch binary
	UIDStart int    // first host uid and gid of the pool
	UIDCount int    // how many ranges of 65,536 the pool has
}

// Spec is one sandbox to start. All of it is enforced, or the sandbox does not
// start.
type Spec struct {
	ID       string // unique among running sandboxes; letters, digits, "_", "-", "."
	Project  string
	Path     string // absolute path inside of the program
	Args     []string
	Env      []string // KEY=value; all of it
	Dir      string   // working folder inside
	UID, GID int      // inside, below IDs
	IDs      int      // how many ids exist inside, at most 65,536; zero: as many
	Links    []Link
	Mounts   []Mount
	Tmpfs    []Tmpfs  // beside /tmp and /dev/shm
	TmpSize  int64    // bytes of /tmp; zero: 256 MiB
	ShmSize  int64    // bytes of /dev/shm; zero: 64 MiB
	Hidden   []string // files and folders that show as empty; absent ones may be named
	Limits   Limits
	Rlimits  []Rlimit // beside those that every sandbox has
	Syscalls Syscalls
	Network  NetworkMode
	Landlock Landlock
	AppArmor string        // profile that the kernel knows; empty: none
	SELinux  string        // label; empty: none
	MaxTime  time.Duration // the sandbox is ended so long after its start, frozen or not; zero: never
}

// Link is a symbolic link at the top of the root.
type Link struct {
	Name, Target string
}

// Mount shows a file or folder of the host inside. What is writable can't be
// executed. With UID and GID the process inside acts there as that user of the
// host, whatever it is inside; neither may be root's. Without, it acts as nobody,
// which only a mount that is not writable may have.
type Mount struct {
	Source, Target string
	File           *os.File // Source, opened by Open; the caller closes it. nil: Start opens it
	Writable       bool
	NoExec         bool
	UID, GID       int
}

// Tmpfs is an empty folder in memory that the process inside may write.
type Tmpfs struct {
	Target string
	Size   int64 // bytes
}

// Rlimit is a limit of each process (getrlimit(2)).
type Rlimit struct {
	Resource   int // unix.RLIMIT_…
	Soft, Hard uint64
}

// Stdio is what a sandbox gets as its standard streams. The files stay the
// caller's, who closes them after Start.
type Stdio struct {
	Stdin, Stdout, Stderr *os.File
}

// Runtime starts sandboxes. Its methods may be called concurrently.
type Runtime struct {
	host      Host
	lifeline  *os.File // read end of a pipe whose write end ends with this process
	writeEnd  *os.File
	hierarchy *hierarchy
	sources   sources
	// capabilities is how many the kernel has.
	capabilities int
	running      sync.WaitGroup

	mu      sync.Mutex
	inUse   map[int]*os.File    // ranges of the uid pool, and their locks
	filters map[string]*os.File // system-call filters by what they allow, open for reading only
	closed  bool
}

// New prepares the host: checks that limits can be enforced, compiles the
// system-call filter and makes the cgroup that all sandboxes are below.
func New(host Host) (*Runtime, error) {
	if host.UIDStart <= 100000 || host.UIDCount < 1 {
		return nil, fmt.Errorf("prepare sandboxes: uid pool %d+%d*65536 is not above 100000", host.UIDStart, host.UIDCount)
	}
	r := &Runtime{host: host, inUse: map[int]*os.File{}, filters: map[string]*os.File{}}
	if err := r.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare sandboxes: %w", err), r.Close())
	}
	return r, nil
}

func (r *Runtime) prepare() error {
	if err := copyLauncher(r.host.Launcher, filepath.Join(r.host.Dir, launcherFile)); err != nil {
		return err
	}
	if err := makeEmpty(r.host.Dir); err != nil {
		return err
	}
	if err := r.sources.open(r.host.Dir); err != nil {
		return err
	}
	r.capabilities = countCapabilities()
	// Compiled now, so that a host it can't be compiled on is known at once.
	if _, err := r.filter(Syscalls{}); err != nil {
		return err
	}
	var err error
	if r.lifeline, r.writeEnd, err = os.Pipe(); err != nil {
		return err
	}
	if r.hierarchy, err = newHierarchy(); err != nil {
		return err
	}
	return keepBack()
}

func makeEmpty(dir string) error {
	return errors.Join(os.WriteFile(filepath.Join(dir, emptyFile), nil, 0o444), os.Mkdir(filepath.Join(dir, emptyDir), 0o555))
}

// copyLauncher copies the program that runs first inside every sandbox to where
// every sandbox can reach it and nobody but root can change it. Whoever may write
// the original could leave out the filter.
func copyLauncher(from, to string) error {
	file, err := os.OpenFile(from, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open launcher: %w", err)
	}
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil || st.Uid != 0 || st.Mode&0o022 != 0 {
		return fmt.Errorf("launcher %s must be root's, and writable by root alone: chown root: %[1]s && chmod 0755 %[1]s", from)
	}
	program, err := io.ReadAll(file)
	return errors.Join(err, os.WriteFile(to, program, 0o700), os.Chmod(to, 0o755))
}

// SetProject sets the limits that all sandboxes of a project have together. Zero
// fields are no limit.
func (r *Runtime) SetProject(project string, limits Limits) error {
	if err := r.hierarchy.setProject(project, limits); err != nil {
		return fmt.Errorf("limit project %q: %w", project, err)
	}
	return nil
}

// Close refuses new sandboxes, waits until the running ones have ended (stop them, and
// discard what is prepared, before) and removes the cgroups.
func (r *Runtime) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.running.Wait()
	files := append(slices.Collect(maps.Values(r.filters)), r.lifeline, r.writeEnd)
	for _, file := range files {
		if file != nil {
			file.Close()
		}
	}
	r.sources.close()
	if r.hierarchy == nil {
		return nil
	}
	return r.hierarchy.remove()
}
