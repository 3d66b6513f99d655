package doctor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// This is the kernel that runs.
type This struct{}

// Release is that of uname(2).
func (This) Release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// Landlock asks for its version (landlock_create_ruleset(2)).
func (This) Landlock() int {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(abi)
}

// Try uses a feature once, and leaves nothing behind.
func (This) Try(f Feature) error {
	switch f {
	case Openat2:
		fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
		return closed(fd, err)
	case PIDFD:
		fd, err := unix.PidfdOpen(os.Getpid(), 0)
		return closed(fd, err)
	case Seccomp:
		return trySeccomp()
	case UserNamespaces:
		return withUserNamespace(func(*os.File) error { return nil })
	case IDMapped:
		return tryIDMapped()
	case SocketLookup:
		return trySocketLookup()
	}
	return fmt.Errorf("%w: nobody knows how", ErrUntried)
}

func closed(fd int, err error) error {
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// trySeccomp asks what filters can do (seccomp(2)).
func trySeccomp() error {
	actions, err := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail")
	if err == nil && !strings.Contains(string(actions), "errno") {
		err = errors.New("filters can't refuse a call")
	}
	return err
}

// withUserNamespace makes a user namespace, as a process that waits, for use.
func withUserNamespace(use func(namespace *os.File) error) (err error) {
	sh, err := exec.LookPath("cat")
	if err != nil {
		return fmt.Errorf("%w: there is no cat(1) to try it with", ErrUntried)
	}
	cmd := exec.Command(sh) //nolint:gosec // G204: of the PATH of whoever runs this
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
	}
	input, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		if os.Geteuid() != 0 {
			return fmt.Errorf("%w: %w", ErrUntried, err) // root may all the same
		}
		return err
	}
	defer func() { err = errors.Join(err, ended(cmd, input)) }()
	namespace, err := os.Open(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "ns/user"))
	if err != nil {
		return err
	}
	defer namespace.Close()
	return use(namespace)
}

// ended lets the process that waits end.
func ended(cmd *exec.Cmd, input io.Closer) error {
	return errors.Join(input.Close(), cmd.Wait())
}

// tryIDMapped maps the ids of a copy of the root mount, which nothing is done with.
func tryIDMapped() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: only root may", ErrUntried)
	}
	return withUserNamespace(func(namespace *os.File) error {
		tree, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return err
		}
		defer unix.Close(tree)
		return unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(namespace.Fd())})
	})
}

// trySocketLookup loads a program that lets everything pass, and attaches it nowhere.
func trySocketLookup() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: only root may", ErrUntried)
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SkLookup, AttachType: ebpf.AttachSkLookup, License: "Apache-2.0",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
	})
	if err != nil {
		return err
	}
	return program.Close()
}
