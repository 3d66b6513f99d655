package profile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/elastic/go-seccomp-bpf/arch"

	"mcpgateway/runtime/document"
)

// defaultCalls is the set that all others are a part of. What is in it is for the
// sandbox to say.
const defaultCalls = "@default"

// groups are calls that the default set allows and that few servers need.
var groups = map[string][]string{
	// Disk reads and writes in the background, as databases do them.
	"@aio": {"io_setup", "io_submit", "io_cancel", "io_destroy", "io_getevents", "io_pgetevents"},
	// Owners of files. A server can give its files to nobody else anyway.
	"@chown": {"chown", "fchown", "fchownat", "lchown"},
	// The host's clock. The kernel asks for a capability, too.
	"@clock-set": {"adjtimex", "clock_adjtime"},
	// Programs that are in no file.
	"@fileless": {"execveat", "memfd_create"},
	// Named pipes and sockets without a listener.
	"@mknod": {"mknod", "mknodat"},
	// Memory that can't be swapped out.
	"@memlock": {"mlock", "mlock2", "mlockall", "munlock", "munlockall"},
	"@mqueue":  {"mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink"},
	// Keys that a processor holds memory closed with.
	"@pkey": {"pkey_alloc", "pkey_free", "pkey_mprotect"},
	// Old, new or odd calls that mostly show up in exploits.
	"@rare": {
		"cachestat", "epoll_ctl_old", "epoll_wait_old", "fanotify_mark", "get_thread_area", "listmount", "listxattrat",
		"mincore", "personality", "process_mrelease", "remap_file_pages", "set_thread_area", "statmount", "tee", "vmsplice",
	},
	"@resources": {"ioprio_set", "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "setpriority", "setrlimit"},
	// Filters that a program puts on itself: more kernel to attack, no more rights.
	"@self-sandbox": {"landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "seccomp"},
	// Other ids: there are none that a server could become.
	"@setuid": {
		"capset", "setfsgid", "setfsuid", "setgid", "setgroups", "setregid", "setresgid", "setresuid", "setreuid", "setuid",
	},
	// All of the host's disks at once: a neighbour waits for it.
	"@sync": {"sync", "syncfs"},
	"@sysv-ipc": {
		"msgctl", "msgget", "msgrcv", "msgsnd", "semctl", "semget", "semop", "semtimedop", "shmat", "shmctl", "shmdt", "shmget",
	},
	// Changes of extended attributes.
	"@xattr-write": {
		"fremovexattr", "fsetxattr", "lremovexattr", "lsetxattr", "removexattr", "removexattrat", "setxattr", "setxattrat",
	},
}

// Group is a named group of system calls.
type Group struct {
	Name  string
	Calls []string
}

// Groups lists the groups by name. The caller may change what it gets.
func Groups() []Group {
	var list []Group
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		list = append(list, Group{name, slices.Clone(groups[name])})
	}
	return list
}

// sets are what a base can be: the default set less groups.
var sets = map[string][]string{
	defaultCalls: nil,
	"@strict":    slices.Sorted(maps.Keys(groups)),
	"@node": {
		"@aio", "@clock-set", "@fileless", "@memlock", "@mknod", "@mqueue", "@rare", "@self-sandbox", "@setuid", "@sync", "@sysv-ipc",
	},
	"@python": {
		"@aio", "@clock-set", "@fileless", "@memlock", "@mqueue", "@pkey", "@rare", "@self-sandbox", "@setuid", "@sync", "@sysv-ipc",
	},
	// A browser brings a sandbox of its own, and shares memory without files.
	"@browser": {"@aio", "@clock-set", "@mknod", "@mqueue", "@rare", "@setuid", "@sync"},
}

// unfiltered calls have arguments in memory, where a filter can't look: what the
// others are refused could be done by them.
var unfiltered = []string{"clone3", "io_uring_enter", "io_uring_register", "io_uring_setup", "openat2"}

// conditional calls are allowed by the default set for harmless arguments only. The
// others make namespaces, type into terminals, or reach other kernel interfaces.
var conditional = []string{"clone", "ioctl", "personality", "socket", "socketpair"}

// Resolve gives the single calls of this architecture that s has beside the default
// set, and those of the default set that it lacks. A call of Plus whose group is
// taken away is as it is in the default set.
func (s Syscalls) Resolve() (plus, minus []string, err error) {
	less, ok := sets[s.Base]
	if !ok {
		return nil, nil, fmt.Errorf("there is no set of system calls %q", s.Base)
	}
	removed, err := singles(slices.Concat(less, s.Minus))
	if err != nil {
		return nil, nil, err
	}
	added, err := singles(s.Plus)
	if err != nil {
		return nil, nil, err
	}
	for call := range added {
		if removed[call] {
			delete(removed, call)
			delete(added, call)
		}
	}
	return slices.Sorted(maps.Keys(added)), slices.Sorted(maps.Keys(removed)), nil
}

// singles gives the calls of this architecture that names stand for.
func singles(names []string) (map[string]bool, error) {
	table, err := arch.GetInfo("")
	if err != nil {
		return nil, err
	}
	calls := make(map[string]bool)
	for _, name := range names {
		expanded, problem := expand(name)
		if problem != "" {
			return nil, fmt.Errorf("system call %q %s", name, problem)
		}
		for _, call := range expanded {
			if _, ok := table.SyscallNames[call]; ok {
				calls[call] = true
			}
		}
	}
	return calls, nil
}

// expand gives the calls of a group, or a single call itself.
func expand(name string) (calls []string, problem string) {
	if strings.HasPrefix(name, "@") {
		calls, ok := groups[name]
		if !ok {
			return nil, "is no group of system calls" + meant(name, slices.Sorted(maps.Keys(groups)), true)
		}
		return calls, ""
	}
	if known := callNames(); !slices.Contains(known, name) {
		return nil, "is no system call" + meant(name, known, false)
	}
	return []string{name}, ""
}

// meant ends an error about an unknown name.
func meant(name string, known []string, all bool) string {
	if near := document.Nearest(name, known); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	if all {
		return ": there are " + strings.Join(known, ", ")
	}
	return ""
}

// callNames are the calls of all architectures that the gateway runs on, so that
// one profile is good for each.
func callNames() []string {
	names := make(map[string]bool)
	for _, table := range []*arch.Info{arch.X86_64, arch.AARCH64} {
		for name := range table.SyscallNames {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// moreCalls are those that b allows and a does not.
func moreCalls(a, b Syscalls) []string {
	aPlus, aMinus, errA := a.Resolve()
	bPlus, bMinus, errB := b.Resolve()
	if errA != nil || errB != nil {
		return nil // which was reported
	}
	var more []string
	for _, call := range bPlus {
		if !slices.Contains(aPlus, call) {
			more = append(more, call)
		}
	}
	for _, call := range aMinus {
		if !slices.Contains(bMinus, call) {
			more = append(more, call)
		}
	}
	slices.Sort(more)
	return slices.Compact(more)
}

// check records what is wrong with s, which stands at p.
func (s Syscalls) check(r *document.Report, p document.Path) {
	if _, ok := sets[s.Base]; !ok {
		r.OneOf(p.Key("base"), s.Base, slices.Sorted(maps.Keys(sets)))
	}
	for i, name := range s.Minus {
		if _, problem := expand(name); problem != "" {
			r.Fail(p.Key("minus").Index(i), "%q %s", name, problem)
		}
	}
	for i, name := range s.Plus {
		at := p.Key("plus").Index(i)
		_, problem := expand(name)
		switch {
		case problem != "":
			r.Fail(at, "%q %s", name, problem)
		case slices.Contains(s.Minus, name):
			r.Fail(at, "%q is in minus, too: keep one of them", name)
		case slices.Contains(conditional, name):
			r.Fail(at, "%q is allowed already, for arguments that do no harm: it can't be added whole", name)
		case slices.Contains(unfiltered, name):
			r.Fail(at, "%q can't be allowed: its arguments lie in memory, where no filter can look: leave it out", name)
		}
	}
}
