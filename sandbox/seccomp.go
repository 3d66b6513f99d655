package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/elastic/go-seccomp-bpf/arch"
	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// removed are the calls that Docker's default profile allows and this one does
// not, or only under conditions of its own.
var removed = []string{
	// Reading and steering other processes: a server has no debugger.
	"ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd",
	// Local descriptor tables for 16-bit code: only ever an attack surface.
	"modify_ldt",
	// File handles lead past mounts, and uretprobe belongs to tracers.
	"name_to_handle_at", "uretprobe",
	// Memory that not even the kernel maps: nothing a server needs.
	"memfd_secret",
	"socket", "socketpair", "ioctl",
	"clone3", "openat2",
}

// notImplemented are calls whose arguments lie in memory, where a filter can't
// look. Libraries fall back to the older call that it can look at.
var notImplemented = []string{"clone3", "openat2"}

// setIDBits are the bits that make the host run a file as somebody else.
const setIDBits = unix.S_ISUID | unix.S_ISGID

// createFlags are the flags of open(2) that make it use its mode.
const createFlags = unix.O_CREAT | unix.O_TMPFILE&^unix.O_DIRECTORY

// deviceBit is set in the types of character and block devices, and in no other
// type that mknod(2) takes.
const deviceBit = unix.S_IFCHR

// refusals are arguments for which an allowed call is refused.
var refusals = map[string][]condition{
	"chmod":     {lowAnyBit(1, setIDBits)},
	"fchmod":    {lowAnyBit(1, setIDBits)},
	"fchmodat":  {lowAnyBit(2, setIDBits)},
	"fchmodat2": {lowAnyBit(2, setIDBits)},
	"creat":     {lowAnyBit(1, setIDBits)},
	"open":      {lowAnyBit(1, createFlags), lowAnyBit(2, setIDBits)},
	"openat":    {lowAnyBit(2, createFlags), lowAnyBit(3, setIDBits)},
	"mkdir":     {lowAnyBit(1, setIDBits)},
	"mkdirat":   {lowAnyBit(2, setIDBits)},
	"mknod":     {lowAnyBit(1, setIDBits|deviceBit)},
	"mknodat":   {lowAnyBit(2, setIDBits|deviceBit)},
}

// grants are arguments for which a call is allowed that is refused otherwise.
var grants = map[string][][]condition{
	"socket": {
		equal(0, unix.AF_UNIX),
		append(equal(0, unix.AF_INET), equal(2, 0)...),
		append(equal(0, unix.AF_INET), equal(2, unix.IPPROTO_TCP)...),
		append(equal(0, unix.AF_INET), equal(2, unix.IPPROTO_UDP)...),
		append(equal(0, unix.AF_INET6), equal(2, 0)...),
		append(equal(0, unix.AF_INET6), equal(2, unix.IPPROTO_TCP)...),
		append(equal(0, unix.AF_INET6), equal(2, unix.IPPROTO_UDP)...),
		// Interface lists (getifaddrs(3)) come over this one; the other netlink
		// families only add kernel surface.
		append(equal(0, unix.AF_NETLINK), equal(2, unix.NETLINK_ROUTE)...),
	},
	"socketpair": {equal(0, unix.AF_UNIX)},
	// TIOCSTI and TIOCLINUX type into somebody's terminal. The kernel looks at the
	// lower 32 bits only, so the upper ones must be zero (CVE-2019-10063), or all
	// ones, as where a C library extends a negative int.
	"ioctl": {
		{high(1, bpf.JumpEqual, 0), low(1, bpf.JumpNotEqual, unix.TIOCSTI), low(1, bpf.JumpNotEqual, unix.TIOCLINUX)},
		{high(1, bpf.JumpEqual, 1<<32-1), low(1, bpf.JumpGreaterOrEqual, 1<<31)},
	},
}

// Syscalls changes what system calls a sandbox may make. The zero value is the
// default: Docker's profile for a process without capabilities, less removed and
// refusals, with grants.
type Syscalls struct {
	Plus, Minus []string // names
	Kill        bool     // a refused call ends the process (SIGSYS) rather than failing with EPERM
	AuditOnly   bool     // a refused call is made, and the kernel logs it
}

// filter returns the system-call filter that enforces calls. Each is compiled once.
func (r *Runtime) filter(calls Syscalls) (*os.File, error) {
	key := fmt.Sprint(slices.Sorted(slices.Values(calls.Plus)), slices.Sorted(slices.Values(calls.Minus)), calls.Kill, calls.AuditOnly)
	r.mu.Lock()
	defer r.mu.Unlock()
	if file, ok := r.filters[key]; ok {
		return file, nil
	}
	program, err := compileFilter(calls)
	if err != nil {
		return nil, fmt.Errorf("compile system-call filter: %w", err)
	}
	path := filepath.Join(r.host.Dir, fmt.Sprintf("filter-%d", len(r.filters)))
	if err := os.WriteFile(path, program, 0o400); err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r.filters[key] = file
	return file, nil
}

// compileFilter returns a filter as the array of struct sock_filter that seccomp(2)
// takes. A call that is not allowed is refused as calls says; one that this gateway
// does not know, or of another architecture, fails with ENOSYS, on which libraries
// fall back to older calls.
func compileFilter(calls Syscalls) ([]byte, error) {
	table, err := arch.GetInfo("")
	if err != nil {
		return nil, err
	}
	verdicts, err := profile(table)
	if err != nil {
		return nil, err
	}
	if err := amend(verdicts, table, calls); err != nil {
		return nil, err
	}
	return assemble(uint32(table.ID), verdicts)
}

// amend changes verdicts as calls says.
func amend(verdicts map[int]verdict, table *arch.Info, calls Syscalls) error {
	set := func(names []string, answer uint32) error {
		for _, name := range names {
			number, ok := table.SyscallNames[name]
			if !ok {
				return fmt.Errorf("no system call is named %q", name)
			}
			v := verdicts[number]
			switch {
			case answer == refuse:
				v = verdict{otherwise: refuse}
			case len(v.rules) == 0 || v.otherwise == allow:
				v.otherwise = allow // what makes a file dangerous for the host is refused all the same
			default:
				return fmt.Errorf("system call %q is allowed under conditions already: it can't be added whole", name)
			}
			verdicts[number] = v
		}
		return nil
	}
	if err := errors.Join(set(calls.Minus, refuse), set(calls.Plus, allow)); err != nil {
		return err
	}
	refused := uint32(refuse)
	switch {
	case calls.AuditOnly:
		refused = unix.SECCOMP_RET_LOG
	case calls.Kill:
		refused = unix.SECCOMP_RET_KILL_PROCESS
	}
	for number, v := range verdicts {
		verdicts[number] = v.refusing(refused)
	}
	return nil
}

// profile says for every call of this architecture what becomes of it by default.
func profile(table *arch.Info) (map[int]verdict, error) {
	docker, err := moby.GetDefaultProfile(&specs.Spec{
		Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}},
		Linux:   &specs.Linux{},
	})
	if err != nil {
		return nil, err
	}
	verdicts := map[int]verdict{}
	for number := range table.SyscallNumbers {
		verdicts[number] = verdict{otherwise: refuse}
	}
	for _, rule := range docker.Syscalls {
		isRemoved := func(name string) bool { return slices.Contains(removed, name) }
		names := slices.DeleteFunc(rule.Names, isRemoved)
		if rule.Action != specs.ActAllow || len(names) == 0 {
			continue
		}
		conditions, err := convert(rule.Args)
		if err != nil {
			return nil, fmt.Errorf("rule for %v: %w", names, err)
		}
		for _, name := range names {
			if number, ok := table.SyscallNames[name]; ok {
				verdicts[number] = verdicts[number].allowing(conditions)
			}
		}
	}
	for name, number := range table.SyscallNames {
		v := verdicts[number]
		if slices.Contains(notImplemented, name) {
			v.otherwise = unknown
		}
		if conditions, ok := refusals[name]; ok {
			v.rules = append([]rule{{conditions, refuse}}, v.rules...)
		}
		for _, conditions := range grants[name] {
			v.rules = append(v.rules, rule{conditions, allow})
		}
		verdicts[number] = v
	}
	return verdicts, nil
}

// convert turns the comparisons that Docker's profile uses into conditions.
func convert(args []specs.LinuxSeccompArg) ([]condition, error) {
	var conditions []condition
	for _, a := range args {
		switch {
		case a.Op == specs.OpEqualTo:
			conditions = append(conditions, equal(uint32(a.Index), a.Value)...)
		case a.Op == specs.OpMaskedEqual && a.ValueTwo == 0 && a.Value>>32 == 0:
			conditions = append(conditions, low(uint32(a.Index), bpf.JumpBitsNotSet, uint32(a.Value)))
		default:
			return nil, fmt.Errorf("comparison %s is not known here", a.Op)
		}
	}
	return conditions, nil
}
