// Mcp-gateway-launch is the first process inside a sandbox. It puts itself under
// the system-call filter, starts the server under it, passes signals on to it,
// reaps every process that is left to it, and ends with the server and the
// server's status. With it the kernel ends whatever else runs inside.
//
// Usage: mcp-gateway-launch [-landlock] DIRECTORY PROGRAM [ARGUMENT…]
//
// DIRECTORY becomes the working folder. Descriptor 3 is the filter, an array of
// struct sock_filter; descriptor 4 is a pipe whose other end the daemon holds;
// descriptor 5 is the server's environment, as in execve(2), which is not this
// program's own; with -landlock, descriptor 6 is a Landlock ruleset.
package main

import (
	"cmp"
	"errors"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	filterFD      = 3
	lifelineFD    = 4
	environmentFD = 5
	rulesetFD     = 6

	// maxInstructions is the kernel's limit on a filter (BPF_MAXINSNS).
	maxInstructions = 4096

	statusSetUp      = 125 // the sandbox could not be completed
	statusNotStarted = 126 // the server could not be executed
	statusNotFound   = 127
)

func main() {
	// One thread is enough, and each counts towards the sandbox's limit.
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(-1)
	args := os.Args[1:]
	landlock := len(args) > 0 && args[0] == "-landlock"
	if landlock {
		args = args[1:]
	}
	if len(args) < 2 {
		fail(statusSetUp, "usage: mcp-gateway-launch [-landlock] DIRECTORY PROGRAM [ARGUMENT…]", nil)
	}
	dir, argv := args[0], args[1:]
	// As the server's user, who must be able to be there.
	if err := os.Chdir(dir); err != nil {
		fail(statusSetUp, "enter the working directory", err)
	}
	// The kernel keeps the parent-death signal with a thread: this one stays.
	runtime.LockOSThread()
	if err := tie(); err != nil {
		fail(statusSetUp, "tie", err)
	}
	env, err := environment()
	if err != nil {
		fail(statusSetUp, "read the environment", err)
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	var server int
	besideMain(func() {
		if err := confine(landlock); err != nil {
			fail(statusSetUp, "confine", err)
		}
		var err error
		if server, err = start(argv, env); err != nil {
			status := statusNotStarted
			if errors.Is(err, unix.ENOENT) {
				status = statusNotFound
			}
			fail(status, "execute "+argv[0], err)
		}
	})
	go forward(signals, server)
	os.Exit(reap(server))
}

// besideMain runs do on a thread of its own that is not the process's first.
// Landlock binds that thread and what it starts. The first one, which stands for
// the process where signals are concerned, stays outside of the server's domain:
// on kernels with scopes the server can't signal it.
func besideMain(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			besideMain(do) // while this goroutine holds the first
		} else {
			do()
		}
	}()
	<-done
}

func fail(status int, what string, err error) {
	if err != nil {
		what += ": " + err.Error()
	}
	_, _ = os.Stderr.WriteString("mcp-gateway-launch: " + what + "\n")
	os.Exit(status)
}

// tie ties this process to the daemon's life and hides it from the server.
func tie() error {
	unix.CloseOnExec(lifelineFD)
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl(PR_SET_PDEATHSIG)", err)
	}
	if daemonGone() {
		return errors.New("the daemon has ended")
	}
	// The server has the same uid: it must neither read nor trace this process.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl(PR_SET_DUMPABLE)", err)
	}
	return nil
}

// confine puts this thread under the ruleset and every thread of the process under
// the filter; the server inherits both. no_new_privs was set before this program
// was executed.
func confine(landlock bool) error {
	unix.CloseOnExec(filterFD)
	if landlock {
		unix.CloseOnExec(rulesetFD)
		if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, rulesetFD, 0, 0); errno != 0 {
			return os.NewSyscallError("landlock_restrict_self", errno)
		}
	}
	return loadFilter()
}

// environment reads the server's environment. The descriptor stays open: an auditor
// reads there what the server was given.
func environment() ([]string, error) {
	unix.CloseOnExec(environmentFD)
	var st unix.Stat_t
	if err := unix.Fstat(environmentFD, &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	content := make([]byte, st.Size)
	for read := 0; read < len(content); {
		n, err := unix.Pread(environmentFD, content[read:], int64(read))
		if err != nil || n == 0 {
			return nil, os.NewSyscallError("pread", cmp.Or(err, error(unix.EIO)))
		}
		read += n
	}
	if len(content) == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(string(content), "\x00"), "\x00"), nil
}

// daemonGone reports whether the daemon ended before its death could be told by
// the signal: then nothing holds the pipe's other end.
func daemonGone() bool {
	poll := []unix.PollFd{{Fd: lifelineFD}}
	n, err := unix.Poll(poll, 0)
	return err != nil || n > 0 && poll[0].Revents&(unix.POLLHUP|unix.POLLNVAL|unix.POLLERR) != 0
}

// loadFilter installs the filter for all threads (SECCOMP_FILTER_FLAG_TSYNC,
// seccomp(2)).
func loadFilter() error {
	var program [maxInstructions + 1]unix.SockFilter
	const size = unsafe.Sizeof(program[0])
	buffer := unsafe.Slice((*byte)(unsafe.Pointer(&program[0])), uintptr(len(program))*size)
	n, err := unix.Pread(filterFD, buffer, 0)
	if err != nil {
		return os.NewSyscallError("pread filter", err)
	}
	if n == 0 || uintptr(n)%size != 0 || uintptr(n) > maxInstructions*size {
		return errors.New("the filter has a wrong size")
	}
	fprog := unix.SockFprog{Len: uint16(uintptr(n) / size), Filter: &program[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return os.NewSyscallError("seccomp", errno)
	}
	if thread != 0 {
		return errors.New("a thread could not be put under the filter")
	}
	return nil
}

// start executes the server with this process's standard streams, and lets go of
// them: only the server's end of them shall keep them open.
func start(argv, env []string) (pid int, err error) {
	//nolint:gosec // G204: executing what the configuration names is its task
	pid, err = syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Env:   env,
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, err
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("open /dev/null", err)
	}
	for fd := range 3 {
		if err := unix.Dup3(null, fd, 0); err != nil {
			return 0, os.NewSyscallError("dup3", err)
		}
	}
	return pid, nil
}

// forward passes signals on to the server. The kernel lets only the daemon, or a
// process inside, send them.
func forward(signals <-chan os.Signal, server int) {
	for s := range signals {
		switch s {
		case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE: // meant for this process alone
		default:
			_ = unix.Kill(server, s.(syscall.Signal)) // it may have ended just now
		}
	}
}

// reap collects every process that ends, until the server does, and returns its
// status.
func reap(server int) int {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return statusSetUp
		case pid == server && status.Signaled():
			return 128 + int(status.Signal())
		case pid == server && status.Exited():
			return status.ExitStatus()
		}
	}
}
