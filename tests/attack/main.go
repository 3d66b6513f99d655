// Command attack has a program for each way out of a sandbox that tests/sandbox
// tries: run inside, each must fail; run outside or with a defence off, it works.
// It refuses nothing: never run it where its caller may not do what it tries.
//
// Runs in: the sandbox, in tests. Build it with CGO_ENABLED=0, so that it needs
// no library inside.
//
// Usage:
//
//	attack NAME [ARGUMENT…]             one attack: prints "ok" if it worked, else what the kernel said
//	attack each 'NAME [ARGUMENT…]' …    each in a process of its own, a line each
//	attack bomb|race|watch|… …          those that go on for a while, or print more (programs, below)
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// attacks try one thing. What they took stays theirs: their process ends.
var attacks = map[string]func(arguments []string) error{
	"nothing": func([]string) error { return nil },

	// namespaces.go
	"unshare": unshare,
	"clone":   clone,
	"clone3":  clone3,
	"setns":   setns,

	// mounts.go
	"mount":          mount,
	"bind":           bind,
	"remount":        remount,
	"umount":         func(a []string) error { return unix.Unmount(a[0], unix.MNT_DETACH) },
	"fsopen":         func(a []string) error { return closing(unix.Fsopen(a[0], 0)) },
	"fsconfig":       func([]string) error { return unix.FsconfigSetString(1, "size", "1m") },
	"fsmount":        func([]string) error { return closing(unix.Fsmount(1, 0, 0)) },
	"fspick":         func(a []string) error { return closing(unix.Fspick(unix.AT_FDCWD, a[0], 0)) },
	"move-mount":     func(a []string) error { return unix.MoveMount(unix.AT_FDCWD, a[0], unix.AT_FDCWD, a[1], 0) },
	"mount-setattr":  mountSetattr,
	"open-tree-attr": openTreeAttr,
	"new-mount":      newMount,

	// files.go
	"read":         read,
	"list":         list,
	"open-write":   openWrite,
	"create":       create,
	"truncate":     func(a []string) error { return unix.Truncate(a[0], 0) },
	"chmod":        func(a []string) error { return unix.Chmod(a[0], 0o777) },
	"chown":        func(a []string) error { return unix.Lchown(a[0], 0, 0) },
	"unlink":       func(a []string) error { return unix.Unlink(a[0]) },
	"link":         func(a []string) error { return unix.Linkat(unix.AT_FDCWD, a[0], unix.AT_FDCWD, a[1], 0) },
	"link-open":    linkOpen,
	"rename":       func(a []string) error { return unix.Rename(a[0], a[1]) },
	"mkdir":        func(a []string) error { return unix.Mkdir(a[0], 0o755) },
	"read-symlink": readSymlink,
	"read-beneath": readBeneath,
	"overwrite":    overwrite,
	"immutable":    immutable,
	"setxattr":     setxattr,
	"lsetxattr":    lsetxattr,
	"fsetxattr":    fsetxattr,
	"setxattrat":   setxattrat,
	"tmpfile-link": tmpfileLink,
	"run-copy":     runCopy,
	"run-loader":   runLoader,
	"run-memory":   runMemory,
	"raise":        raise,

	"overwrite-in-place": overwriteInPlace,

	// processes.go
	"kill":               kill,
	"kill-pidfd":         killPidfd,
	"trace-child":        traceChild,
	"trace-me":           func([]string) error { return call(unix.SYS_PTRACE, unix.PTRACE_TRACEME, 0, 0) },
	"process-vm-writev":  processVMWritev,
	"kcmp":               kcmp,
	"pidfd-getfd":        pidfdGetfd,
	"process-madvise":    processMadvise,
	"raise-priority":     func([]string) error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -5) },
	"real-time":          realTime,
	"all-capabilities":   allCapabilities,
	"setgroups":          func([]string) error { return unix.Setgroups([]int{0}) },
	"setgid":             func([]string) error { return unix.Setresgid(0, 0, 0) },
	"request-key":        requestKey,
	"join-session":       func([]string) error { return ignoring(unix.KeyctlJoinSessionKeyring("attack")) },
	"read-key":           readKey,
	"fanotify":           func([]string) error { return closing(unix.FanotifyInit(unix.FAN_CLASS_CONTENT, unix.O_RDONLY)) },
	"io-uring-enter":     func([]string) error { return call(unix.SYS_IO_URING_ENTER, 1, 0, 0) },
	"io-uring-register":  func([]string) error { return call(unix.SYS_IO_URING_REGISTER, 1, 0, 0) },
	"acct":               func([]string) error { return unix.Acct("/none") },
	"quotactl":           func([]string) error { return call(unix.SYS_QUOTACTL, 0x800001<<8, 0, 0) },
	"swapoff":            func([]string) error { return call(unix.SYS_SWAPOFF, 0, 0, 0) },
	"delete-module":      func([]string) error { return unix.DeleteModule("none", 0) },
	"finit-module":       func([]string) error { return unix.FinitModule(1, "", 0) },
	"kexec-file-load":    func([]string) error { return call(unix.SYS_KEXEC_FILE_LOAD, 1, 1, 0) },
	"kernel-log":         kernelLog,
	"sethostname":        func([]string) error { return unix.Sethostname([]byte("attack")) },
	"setdomainname":      func([]string) error { return unix.Setdomainname([]byte("attack")) },
	"set-clock":          setClock,
	"adjust-clock":       func([]string) error { return ignoring(unix.Adjtimex(&unix.Timex{Modes: unix.ADJ_SETOFFSET})) },
	"vhangup":            func([]string) error { return call(unix.SYS_VHANGUP, 0, 0, 0) },
	"type-into-terminal": typeIntoTerminal,

	// network.go
	"connect":     connect,
	"socket":      socket,
	"bind-port":   bindPort,
	"mark":        func([]string) error { return option(unix.SOL_SOCKET, unix.SO_MARK) },
	"transparent": func([]string) error { return option(unix.SOL_IP, unix.IP_TRANSPARENT) },
	"big-buffer":  func([]string) error { return option(unix.SOL_SOCKET, unix.SO_RCVBUFFORCE) },
	"tcp-repair":  func([]string) error { return option(unix.SOL_TCP, unix.TCP_REPAIR) },
	"loopback":    changeLoopback,
	"add-address": addAddress,
	"add-route":   addRoute,
	"add-link":    addLink,
}

// programs go on for a while, or print something of their own.
var programs = map[string]func(arguments []string) error{
	"each":        each,
	"writable":    writable,    // files.go
	"procfs":      procfs,      // files.go
	"descriptors": descriptors, // files.go
	"setid":       setid,       // files.go
	"nest":        nest,        // files.go
	"exchange":    exchange,    // files.go
	"kill-all":    killAll,     // processes.go
	"signal-init": signalInit,  // processes.go
	"see":         see,         // processes.go
	"watch":       watch,       // watch.go
	"bomb":        bomb,        // bombs.go
	"latency":     latency,     // bombs.go
	"burn":        burn,        // bombs.go
	"sleep":       sleep,       // bombs.go
}

func main() {
	if len(os.Args) < 2 {
		fail("usage: attack NAME [ARGUMENT…]")
	}
	name, arguments := os.Args[1], os.Args[2:]
	if program, ok := programs[name]; ok {
		if err := program(arguments); err != nil {
			fail(name + ": " + err.Error())
		}
		return
	}
	attack, ok := attacks[name]
	if !ok {
		fail("there is no attack " + name)
	}
	fmt.Println(verdict(attack(arguments)))
}

func fail(text string) {
	fmt.Fprintln(os.Stderr, "attack: "+text)
	os.Exit(1)
}

// each shows, as process 1 of a pid namespace, its own processes in /proc; the
// sandbox does that itself.
func each(lines []string) error {
	if os.Geteuid() == 0 {
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			return err
		}
	}
	for _, line := range lines {
		cmd := exec.Command("/proc/self/exe", strings.Fields(line)...)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			out = []byte(err.Error() + "\n")
		}
		_, _ = os.Stdout.Write(out)
	}
	return nil
}

func verdict(err error) string {
	var errno unix.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	default:
		return err.Error()
	}
}

func call(number, a, b, c uintptr) error {
	if _, _, errno := unix.Syscall(number, a, b, c); errno != 0 {
		return errno
	}
	return nil
}

func closing(fd int, err error) error {
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func ignoring[T any](_ T, err error) error { return err }
