// Probe tries, one by one, what a sandbox must not allow, and prints what the
// kernel said: "NAME ok" where it worked, "NAME EPERM" and the like where not. Run
// outside of a sandbox it shows that the attempts would work.
//
// Usage: probe DIRECTORY, which must be writable.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

type attempt func(dir string) error

var attempts = map[string]attempt{
	"unshare-user":     func(string) error { return unshare(unix.CLONE_NEWUSER) },
	"unshare-net":      func(string) error { return unshare(unix.CLONE_NEWNET) },
	"setns":            setns,
	"mount":            mount,
	"open-tree":        openTree,
	"pivot-root":       func(dir string) error { return unix.PivotRoot(dir, dir) },
	"chroot":           func(string) error { return unix.Chroot("/") },
	"ptrace":           ptrace,
	"process-vm-readv": processVMReadv,
	"keyctl":           keyctl,
	"add-key":          addKey,
	"bpf":              func(string) error { return call(unix.SYS_BPF, 0, 0, 0) },
	"perf-event-open":  perfEventOpen,
	"userfaultfd":      userfaultfd,
	"io-uring":         ioUring,
	"open-by-handle":   openByHandle,
	"kexec":            func(string) error { return call(unix.SYS_KEXEC_LOAD, 0, 0, 0) },
	"init-module":      func(string) error { return call(unix.SYS_INIT_MODULE, 0, 0, 0) },
	"reboot":           func(string) error { return call(unix.SYS_REBOOT, 0, 0, 0) },
	"swapon":           func(string) error { return call(unix.SYS_SWAPON, 0, 0, 0) },
	"settimeofday":     settimeofday,
	"personality":      func(string) error { return call(unix.SYS_PERSONALITY, 0x0040000|0x0400000, 0, 0) },
	"socket-packet":    func(string) error { return socket(unix.AF_PACKET, unix.SOCK_RAW, 0) },
	"socket-raw":       func(string) error { return socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP) },
	"socket-vsock":     func(string) error { return socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0) },
	"socket-alg":       func(string) error { return socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0) },
	"socket-netfilter": func(string) error { return socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER) },
	"socket-audit":     func(string) error { return socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT) },
	"clone3":           func(string) error { return call(unix.SYS_CLONE3, 0, 0, 0) },
	"tiocsti":          func(string) error { return tiocsti(unix.TIOCSTI) },
	"tiocsti-high":     func(string) error { return tiocsti(unix.TIOCSTI | 1<<32) },
	"chmod-setuid":     withFile(func(path string) error { return unix.Chmod(path, 0o4755) }),
	"chmod-setgid":     withFile(func(path string) error { return unix.Chmod(path, 0o2755) }),
	"chmod-high":       withFile(chmodHigh),
	"fchmod-setuid":    withFile(fchmod),
	"fchmodat2-setuid": withFile(fchmodat2),
	"open-setuid":      openSetuid,
	"openat-setuid":    openatSetuid,
	"openat2-setuid":   openat2Setuid,
	"creat-setuid":     creatSetuid,
	"tmpfile-setuid":   tmpfileSetuid,
	"mkdir-setgid":     func(dir string) error { return removeAfter(dir, func(p string) error { return unix.Mkdir(p, 0o2755) }) },
	"mknod-setuid":     func(dir string) error { return mknod(dir, unix.S_IFREG|0o4755, 0) },
	"mknod-char":       func(dir string) error { return mknod(dir, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))) },
	"mknod-block":      func(dir string) error { return mknod(dir, unix.S_IFBLK|0o666, int(unix.Mkdev(254, 0))) },
	"mknod-whiteout":   func(dir string) error { return mknod(dir, unix.S_IFCHR, 0) },
	"raise-nofile":     raiseNofile,
	"setuid-root":      func(string) error { return inChild(func() error { return unix.Setresuid(0, 0, 0) }) },
	"i386-call":        i386Call,
	"x32-call":         func(string) error { return call(0x40000000|unix.SYS_GETPID, 0, 0, 0) },

	// These must go on working, or servers would not run.
	"still-open":        func(dir string) error { return removeAfter(dir, create) },
	"still-chmod":       withFile(func(path string) error { return unix.Chmod(path, 0o755) }),
	"still-mkdir":       func(dir string) error { return removeAfter(dir, func(p string) error { return unix.Mkdir(p, 0o755) }) },
	"still-mkfifo":      func(dir string) error { return mknod(dir, unix.S_IFIFO|0o600, 0) },
	"still-unix":        func(string) error { return socket(unix.AF_UNIX, unix.SOCK_STREAM, 0) },
	"still-inet":        func(string) error { return socket(unix.AF_INET, unix.SOCK_STREAM, 0) },
	"still-route":       func(string) error { return socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE) },
	"still-memfd":       func(string) error { _, err := unix.MemfdCreate("probe", 0); return err },
	"still-executable":  executable,
	"still-ioctl-high":  func(string) error { _, err := unix.IoctlGetInt(0, 0xffffffff80045430); return ignore(err, unix.ENOTTY) },
	"still-thread":      func(string) error { return inChild(func() error { return nil }) },
	"still-new-syscall": func(string) error { return ignore(call(9999, 0, 0, 0), unix.ENOSYS) },
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: probe DIRECTORY")
		os.Exit(2)
	}
	names := make([]string, 0, len(attempts))
	for name := range attempts {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Println(name, verdict(attempts[name](os.Args[1])))
	}
}

func verdict(err error) string {
	var errno syscall.Errno
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
	_, _, errno := unix.Syscall(number, a, b, c)
	if errno != 0 {
		return errno
	}
	return nil
}

func ignore(err error, wanted syscall.Errno) error {
	if errors.Is(err, wanted) {
		return nil
	}
	return err
}

// inChild runs do on a thread of its own, which ends with what do changed.
func inChild(do func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		result <- do()
	}()
	return <-result
}

func unshare(flags int) error {
	// A thread of a process with others can't enter a new user namespace (EINVAL);
	// the filter answers before the kernel looks.
	return inChild(func() error { return unix.Unshare(flags) })
}

func setns(string) error {
	fd, err := unix.Open("/proc/self/ns/uts", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	return inChild(func() error { return unix.Setns(fd, unix.CLONE_NEWUTS) })
}

func mount(dir string) error {
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		return err
	}
	return unix.Unmount(dir, 0)
}

func openTree(string) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func ptrace(string) error {
	return inChild(func() error { return call(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(os.Getppid()), 0) })
}

func processVMReadv(string) error {
	buffer := make([]byte, 1)
	local := []unix.Iovec{{Base: &buffer[0], Len: 1}}
	remote := []unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(&buffer[0])), Len: 1}}
	_, err := unix.ProcessVMReadv(os.Getpid(), local, remote, 0)
	return err
}

func keyctl(string) error {
	_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, true)
	return err
}

func addKey(string) error {
	_, err := unix.AddKey("user", "probe", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
	return err
}

func perfEventOpen(string) error {
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})), Config: unix.PERF_COUNT_SW_CPU_CLOCK}
	fd, err := unix.PerfEventOpen(&attr, 0, -1, -1, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func userfaultfd(string) error { return call(unix.SYS_USERFAULTFD, 1, 0, 0) }

func ioUring(string) error {
	var params [120]byte
	return call(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params[0])), 0)
}

func openByHandle(dir string) error {
	handle, mount, err := unix.NameToHandleAt(unix.AT_FDCWD, dir, 0)
	if err != nil {
		return err
	}
	_ = mount
	fd, err := unix.Open(dir, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	_, err = unix.OpenByHandleAt(fd, handle, unix.O_RDONLY)
	return err
}

func settimeofday(string) error {
	var now unix.Timeval
	if err := unix.Gettimeofday(&now); err != nil {
		return err
	}
	return unix.Settimeofday(&now)
}

func socket(family, kind, protocol int) error {
	fd, err := unix.Socket(family, kind, protocol)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func tiocsti(request uintptr) error {
	// Without a terminal the kernel says ENOTTY; the filter answers before.
	char := byte('x')
	return call(unix.SYS_IOCTL, 0, request, uintptr(unsafe.Pointer(&char)))
}

func create(path string) error {
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_WRONLY, 0o644)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// removeAfter runs do on a path in dir that is not there, and removes it again.
func removeAfter(dir string, do func(string) error) error {
	path := filepath.Join(dir, "probe")
	defer os.RemoveAll(path)
	return do(path)
}

func withFile(do func(string) error) attempt {
	return func(dir string) error {
		return removeAfter(dir, func(path string) error {
			if err := create(path); err != nil {
				return fmt.Errorf("create: %w", err)
			}
			return do(path)
		})
	}
}

func chmodHigh(path string) error {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	return call(unix.SYS_FCHMODAT, ^uintptr(99), uintptr(unsafe.Pointer(p)), 0o4755|1<<32)
}

func fchmod(path string) error {
	fd, err := unix.Open(path, unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fchmod(fd, 0o4755)
}

func fchmodat2(path string) error {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall6(unix.SYS_FCHMODAT2, ^uintptr(99), uintptr(unsafe.Pointer(p)), 0o4755, 0, 0, 0)
	if errno != 0 {
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

func openSetuid(dir string) error {
	return removeAfter(dir, func(path string) error {
		p, err := unix.BytePtrFromString(path)
		if err != nil {
			return err
		}
		return openCall(uintptr(unsafe.Pointer(p)), 0o4755)
	})
}

func openatSetuid(dir string) error {
	return removeAfter(dir, func(path string) error {
		return closing(unix.Openat(unix.AT_FDCWD, path, unix.O_CREAT|unix.O_WRONLY, 0o4755))
	})
}

func openat2Setuid(dir string) error {
	return removeAfter(dir, func(path string) error {
		return closing(unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY, Mode: 0o4755}))
	})
}

func creatSetuid(dir string) error {
	return removeAfter(dir, func(path string) error { return closing(unix.Creat(path, 0o6755)) })
}

func tmpfileSetuid(dir string) error {
	return closing(unix.Openat(unix.AT_FDCWD, dir, unix.O_TMPFILE|unix.O_WRONLY, 0o4755))
}

func mknod(dir string, mode uint32, device int) error {
	return removeAfter(dir, func(path string) error { return unix.Mknod(path, mode, device) })
}

func raiseNofile(string) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Max++
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
}

// executable maps memory that can be written and executed, as Node's compiler does.
func executable(string) error {
	memory, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err == nil {
		err = unix.Munmap(memory)
	}
	return err
}
