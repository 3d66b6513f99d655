package doctor

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"
)

func (x *examination) namespaces() {
	var lacks []string
	for _, kind := range []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"} {
		if !x.exists(filepath.Join("proc/self/ns", kind)) {
			lacks = append(lacks, kind)
		}
	}
	if len(lacks) > 0 {
		x.find(Missing, "kinds", "use a kernel with CONFIG_NAMESPACES and all that is below it", "this kernel has no namespaces of %s: no sandbox can be made", strings.Join(lacks, ", "))
	} else {
		x.ok("kinds", "user, mount, pid, network, ipc, uts and cgroup")
	}
	x.userNamespaces()
}

// userNamespaces looks at what can forbid them, and then tries.
func (x *examination) userNamespaces() {
	const most = "proc/sys/user/max_user_namespaces"
	if n, err := strconv.Atoi(x.read(most)); err == nil && n < 64 {
		x.find(Missing, "how many", "sysctl -w user.max_user_namespaces=15000, and the same in /etc/sysctl.d/mcp-gateway.conf", "user.max_user_namespaces is %d: each sandbox has one", n)
	}
	if x.read("proc/sys/kernel/unprivileged_userns_clone") == "0" {
		x.find(Note, "kernel.unprivileged_userns_clone", "leave it: the daemon is root", "is 0: only root makes user namespaces, as the daemon does")
	}
	if x.read("proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
		x.find(Note, "AppArmor's restriction", "leave it: the daemon is root", "kernel.apparmor_restrict_unprivileged_userns is 1: only root makes user namespaces, as the daemon does")
	}
	err := x.host.Kernel.Try(UserNamespaces)
	switch {
	case err == nil:
		x.ok("user namespaces", "one was made")
	case errors.Is(err, ErrUntried):
		x.find(Note, "user namespaces", "run doctor as root to know", "%v", err)
	default:
		x.find(Missing, "user namespaces", "in a container, start it with --privileged; else use a kernel with CONFIG_USER_NS", "none can be made: %v", err)
	}
}

func (x *examination) security() {
	switch abi := x.host.Kernel.Landlock(); {
	case abi == 0:
		fix := x.bootWith("lsm=landlock,lockdown,yama,integrity,apparmor,bpf")
		if running, ok := parseVersion(x.host.Kernel.Release()); ok && running.before(oldest) {
			fix = "install Linux 5.13 or newer"
		}
		x.find(Warning, "Landlock", fix, `this kernel has none: profiles with landlock.mode = "required" refuse to start, others lack that layer`)
	case abi < landlockWant:
		x.find(Note, "Landlock", "install Linux "+landlockFrom.String()+" or newer", `version %d: network.mode = "host" needs version %d`, abi, landlockWant)
	default:
		x.ok("Landlock", "version %d", abi)
	}
	switch {
	case strings.HasPrefix(x.read("sys/module/apparmor/parameters/enabled"), "Y"):
		x.ok("AppArmor", "is on; the gateway needs no profile of it")
	case x.exists("sys/fs/selinux/enforce"):
		mode := map[string]string{"1": "enforcing", "0": "permissive"}[x.read("sys/fs/selinux/enforce")]
		x.ok("SELinux", "is %s; the daemon must be allowed to make namespaces and cgroups", mode)
	default:
		x.ok("AppArmor, SELinux", "neither is on: servers are confined all the same")
	}
}
