package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// call is a system call as a filter sees it.
type call struct {
	name   string
	number uint32
	args   [6]uint64
}

// forbidden are calls that no profile means to allow unless it names them.
func forbidden() []call {
	const file, device = 0o4755, unix.S_IFCHR | 0o666
	return []call{
		{name: "mount", number: unix.SYS_MOUNT}, {name: "umount2", number: unix.SYS_UMOUNT2}, {name: "pivot_root", number: unix.SYS_PIVOT_ROOT},
		{name: "move_mount", number: unix.SYS_MOVE_MOUNT}, {name: "open_tree", number: unix.SYS_OPEN_TREE}, {name: "fsopen", number: unix.SYS_FSOPEN},
		{name: "mount_setattr", number: unix.SYS_MOUNT_SETATTR}, {name: "chroot", number: unix.SYS_CHROOT},
		{name: "setns", number: unix.SYS_SETNS}, {name: "unshare", number: unix.SYS_UNSHARE, args: [6]uint64{unix.CLONE_NEWUSER}},
		{name: "clone3", number: unix.SYS_CLONE3}, {name: "clone", number: unix.SYS_CLONE, args: [6]uint64{unix.CLONE_NEWUSER}},
		{name: "openat2", number: unix.SYS_OPENAT2}, {name: "open_by_handle_at", number: unix.SYS_OPEN_BY_HANDLE_AT},
		{name: "name_to_handle_at", number: unix.SYS_NAME_TO_HANDLE_AT},
		{name: "ptrace", number: unix.SYS_PTRACE}, {name: "process_vm_readv", number: unix.SYS_PROCESS_VM_READV},
		{name: "process_vm_writev", number: unix.SYS_PROCESS_VM_WRITEV}, {name: "pidfd_getfd", number: unix.SYS_PIDFD_GETFD}, {name: "kcmp", number: unix.SYS_KCMP},
		{name: "bpf", number: unix.SYS_BPF}, {name: "perf_event_open", number: unix.SYS_PERF_EVENT_OPEN}, {name: "userfaultfd", number: unix.SYS_USERFAULTFD},
		{name: "io_uring_setup", number: unix.SYS_IO_URING_SETUP}, {name: "io_uring_enter", number: unix.SYS_IO_URING_ENTER},
		{name: "io_uring_register", number: unix.SYS_IO_URING_REGISTER}, {name: "fanotify_init", number: unix.SYS_FANOTIFY_INIT},
		{name: "keyctl", number: unix.SYS_KEYCTL}, {name: "add_key", number: unix.SYS_ADD_KEY}, {name: "request_key", number: unix.SYS_REQUEST_KEY},
		{name: "init_module", number: unix.SYS_INIT_MODULE}, {name: "finit_module", number: unix.SYS_FINIT_MODULE}, {name: "delete_module", number: unix.SYS_DELETE_MODULE},
		{name: "kexec_load", number: unix.SYS_KEXEC_LOAD}, {name: "reboot", number: unix.SYS_REBOOT}, {name: "swapon", number: unix.SYS_SWAPON},
		{name: "swapoff", number: unix.SYS_SWAPOFF}, {name: "acct", number: unix.SYS_ACCT}, {name: "quotactl", number: unix.SYS_QUOTACTL},
		{name: "syslog", number: unix.SYS_SYSLOG}, {name: "settimeofday", number: unix.SYS_SETTIMEOFDAY}, {name: "clock_settime", number: unix.SYS_CLOCK_SETTIME},
		{name: "sethostname", number: unix.SYS_SETHOSTNAME}, {name: "vhangup", number: unix.SYS_VHANGUP},

		{name: "fchmodat of a set-id bit", number: unix.SYS_FCHMODAT, args: [6]uint64{2: file}},
		{name: "openat that makes a set-id file", number: unix.SYS_OPENAT, args: [6]uint64{2: unix.O_CREAT, 3: file}},
		{name: "mknodat of a device", number: unix.SYS_MKNODAT, args: [6]uint64{2: device, 3: unix.Mkdev(1, 1)}},
		{name: "socket of AF_PACKET", number: unix.SYS_SOCKET, args: [6]uint64{unix.AF_PACKET, unix.SOCK_RAW}},
		{name: "socket of AF_VSOCK", number: unix.SYS_SOCKET, args: [6]uint64{unix.AF_VSOCK, unix.SOCK_STREAM}},
		{name: "socket of AF_ALG", number: unix.SYS_SOCKET, args: [6]uint64{unix.AF_ALG, unix.SOCK_SEQPACKET}},
		{name: "socket of netfilter", number: unix.SYS_SOCKET, args: [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER}},
		{name: "ioctl TIOCSTI", number: unix.SYS_IOCTL, args: [6]uint64{1: unix.TIOCSTI}},
		{name: "ioctl TIOCSTI, upper half set", number: unix.SYS_IOCTL, args: [6]uint64{1: 1<<32 | unix.TIOCSTI}},
	}
}

// checkSyscalls looks at the filter: whether every thread is under one, and what
// the one answers that the first process has loaded.
func (a *audit) checkSyscalls() {
	const section = "system calls"
	a.everyThread(fact{section, "filter is on", "2", "status", 8}, "Seccomp")
	some := func(v string) bool { n, err := strconv.Atoi(v); return err == nil && n > 0 }
	a.every(fact{section, "filters", "1 or more", "status", 8}, func(p process) []string { return p.all("Seccomp_filters") }, some)

	const where = "fd/" + filterFD
	f := fact{section, "calls of the host's that pass", "none", where, 5}
	program, err := readFilter(a.path(a.PID, where))
	if err != nil {
		a.judge(f, "", false, err)
		return
	}
	passes, err := a.passing(program)
	a.judge(f, orNone(strings.Join(passes, ", ")), len(passes) == 0, err)
	ordinary, err := answer(program, auditArch, call{number: unix.SYS_READ})
	a.judge(fact{section, "read(2)", "passes", where, 1}, fmt.Sprintf("%#x", ordinary), ordinary == unix.SECCOMP_RET_ALLOW, err)
	a.hidden(fact{section, "the loaded filter is that one", "yes", "ptrace(2)", 8}, "told to a tracer only")
}

// passing are the forbidden calls that a filter lets through.
func (a *audit) passing(program *bpf.VM) ([]string, error) {
	var names []string
	try := func(name string, arch uint32, c call) error {
		got, err := answer(program, arch, c)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		isLogged := a.Profile.Syscalls.AuditOnly && got == unix.SECCOMP_RET_LOG
		if passes(got) && !isLogged {
			names = append(names, name)
		}
		return nil
	}
	meant, _, err := a.Profile.Syscalls.Resolve()
	errs := []error{err}
	for _, c := range forbidden() {
		bare, _, _ := strings.Cut(c.name, " ")
		if !slices.Contains(meant, bare) {
			errs = append(errs, try(c.name, auditArch, c))
		}
	}
	errs = append(errs,
		try("read of another architecture", otherArch, call{number: unix.SYS_READ}),
		try("read by the x32 interface", auditArch, call{number: 0x40000000}))
	return names, errors.Join(errs...)
}

// passes reports whether an answer lets a call go on. A tracer's or a supervisor's
// decision counts: nobody is there to make it.
func passes(answer uint32) bool {
	switch answer & unix.SECCOMP_RET_ACTION_FULL {
	case unix.SECCOMP_RET_ERRNO, unix.SECCOMP_RET_KILL_PROCESS, unix.SECCOMP_RET_KILL_THREAD, unix.SECCOMP_RET_TRAP:
		return false
	}
	return true
}

// The architecture of this host's calls, and one whose calls it also takes or
// might.
var auditArch, otherArch = architectures(runtime.GOARCH)

func architectures(name string) (own, other uint32) {
	if name == "arm64" {
		return unix.AUDIT_ARCH_AARCH64, unix.AUDIT_ARCH_ARM
	}
	return unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386
}

// readFilter reads a program of struct sock_filter (seccomp(2)).
func readFilter(path string) (*bpf.VM, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	const size, most = 8, 4096 * 8
	content, err := io.ReadAll(io.LimitReader(file, most+1))
	if err != nil {
		return nil, err
	}
	if len(content) == 0 || len(content)%size != 0 || len(content) > most {
		return nil, fmt.Errorf("a filter of %d bytes", len(content))
	}
	var program []bpf.Instruction
	for raw := range slices.Chunk(content, size) {
		i := bpf.RawInstruction{Op: binary.NativeEndian.Uint16(raw), Jt: raw[2], Jf: raw[3], K: binary.NativeEndian.Uint32(raw[4:])}
		program = append(program, i.Disassemble())
	}
	return bpf.NewVM(program)
}

// answer is what a filter says to a call. The program reads words of struct
// seccomp_data, which the machine that runs it here takes in network order.
func answer(program *bpf.VM, arch uint32, c call) (uint32, error) {
	data := binary.BigEndian.AppendUint32(nil, c.number)
	data = binary.BigEndian.AppendUint32(data, arch)
	data = binary.BigEndian.AppendUint64(data, 0) // where it was made
	for _, arg := range c.args {
		data = binary.BigEndian.AppendUint32(data, uint32(arg)) // the low half comes first
		data = binary.BigEndian.AppendUint32(data, uint32(arg>>32))
	}
	got, err := program.Run(data)
	return uint32(got), err
}
