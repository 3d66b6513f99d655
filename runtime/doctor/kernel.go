package doctor

import (
	"errors"
	"strconv"
	"strings"
)

// ErrUntried says that a feature can't be tried here.
var ErrUntried = errors.New("it was not tried")

// The oldest kernel that the gateway supports, and what newer ones bring.
var (
	oldest       = version{5, 15}
	tmpfsMapped  = version{6, 3}  // idmapped mounts of tmpfs
	landlockWant = 6              // keeps sandboxes from the host's abstract sockets
	landlockFrom = version{6, 12} // has that
)

type version [2]int

func (v version) before(other version) bool {
	return v[0] < other[0] || v[0] == other[0] && v[1] < other[1]
}

func (v version) String() string { return strconv.Itoa(v[0]) + "." + strconv.Itoa(v[1]) }

// parseVersion reads the first two numbers of a release.
func parseVersion(release string) (v version, ok bool) {
	major, rest, _ := strings.Cut(release, ".")
	minor := rest
	if end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		minor = rest[:end]
	}
	var errA, errB error
	v[0], errA = strconv.Atoi(major)
	v[1], errB = strconv.Atoi(minor)
	return v, errA == nil && errB == nil
}

func (x *examination) kernel() {
	release := x.host.Kernel.Release()
	running, known := parseVersion(release)
	switch {
	case !known:
		x.find(Warning, "version", "", "%q is no version that can be compared: Linux %s or newer is needed", release, oldest)
	case running.before(oldest):
		x.find(Missing, "version", "install a newer kernel"+x.newerKernel(), "Linux %s is too old: %s or newer is needed", release, oldest)
	case running.before(tmpfsMapped):
		x.find(Note, "version", "install Linux 6.3 or newer, if you want those", "Linux %s: allowed directories can't be on tmpfs", release)
	default:
		x.ok("version", "Linux %s", release)
	}
	for _, f := range []struct {
		feature Feature
		state   State
		without string
		fix     string
	}{
		{Openat2, Missing, "paths of servers can't be opened safely", "install Linux 5.6 or newer"},
		{PIDFD, Warning, "processes can only be named by numbers, which are used again", "install Linux 5.3 or newer"},
		{Seccomp, Missing, "servers can't be kept from system calls", "use a kernel with CONFIG_SECCOMP_FILTER"},
		{IDMapped, Warning, "allowed_directories need them", "install Linux 5.12 or newer, and keep those directories on a file system that has them (ext4, xfs, btrfs)"},
		{SocketLookup, Warning, `servers with a list of addresses (network.mode = "allow") need it`, "use a kernel of 5.9 or newer with CONFIG_BPF_SYSCALL and CONFIG_INET"},
	} {
		err := x.host.Kernel.Try(f.feature)
		switch {
		case err == nil:
			x.ok(string(f.feature), "works")
		case errors.Is(err, ErrUntried):
			x.find(Note, string(f.feature), "run doctor as root to know", "%v", err)
		default:
			x.find(f.state, string(f.feature), f.fix, "not possible (%v): %s", err, f.without)
		}
	}
}

// newerKernel says where the distribution has one, if it does.
func (x *examination) newerKernel() string {
	switch x.distribution {
	case "debian":
		return " (from backports, or upgrade to Debian 12 or newer)"
	case "ubuntu":
		return " (linux-generic-hwe, or upgrade to Ubuntu 22.04 or newer)"
	case "rhel", "centos", "rocky", "almalinux":
		return " (upgrade to version 10)"
	}
	return ""
}
