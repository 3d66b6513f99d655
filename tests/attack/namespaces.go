package main

import (
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

var namespaces = map[string]uintptr{
	"user": unix.CLONE_NEWUSER, "mnt": unix.CLONE_NEWNS, "pid": unix.CLONE_NEWPID, "net": unix.CLONE_NEWNET,
	"ipc": unix.CLONE_NEWIPC, "uts": unix.CLONE_NEWUTS, "cgroup": unix.CLONE_NEWCGROUP, "time": unix.CLONE_NEWTIME,
}

// unshare has a child do it: a process with threads may not enter a user namespace.
func unshare(a []string) error {
	return spawn(&syscall.SysProcAttr{Unshareflags: namespaces[a[0]]})
}

func clone(a []string) error {
	return spawn(&syscall.SysProcAttr{Cloneflags: namespaces[a[0]]})
}

func spawn(attr *syscall.SysProcAttr) error {
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = attr
	return cmd.Run()
}

func clone3(a []string) error {
	runtime.LockOSThread()
	// struct clone_args: flags, three addresses, the signal at the end, and no stack.
	arguments := [8]uint64{0: uint64(namespaces[a[0]]), 4: uint64(unix.SIGCHLD)}
	pid, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&arguments)), unsafe.Sizeof(arguments), 0)
	for errno == 0 && pid == 0 {
		_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// setns enters namespaces of process 1.
func setns(a []string) error {
	runtime.LockOSThread()
	fd, err := unix.PidfdOpen(1, 0)
	if err != nil {
		return err
	}
	return unix.Setns(fd, int(namespaces[a[0]]))
}
