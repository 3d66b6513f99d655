package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// descriptor is an open file of a process.
type descriptor struct {
	of   process
	fd   string
	link string // what it is: a path, or such as "pipe:[12345]"
}

func (d descriptor) String() string { return fmt.Sprintf("%s of %s: %q", d.fd, d.of, d.link) }

// The launcher's own descriptors: its system-call filter, a pipe that ends with the
// daemon, and the environment that it gave the server.
const (
	filterFD      = "3"
	lifelineFD    = "4"
	environmentFD = "5"
)

// anonymous are the kinds of the kernel's own files that a server may make.
var anonymous = []string{"eventpoll", "eventfd", "timerfd", "signalfd", "inotify", "pidfd", "landlock-ruleset"}

// checkDescriptors wants every open file to be the sandbox's own: on its mounts,
// in its namespace, or made inside; but for its standard streams.
func (a *audit) checkDescriptors() {
	const section = "descriptors"
	for _, p := range a.processes {
		for fd, link := range p.links {
			a.descriptors = append(a.descriptors, descriptor{p, fd, link})
		}
	}
	slices.SortFunc(a.descriptors, func(x, y descriptor) int {
		return cmp.Or(cmp.Compare(x.of.pid, y.of.pid), cmp.Compare(len(x.fd), len(y.fd)), cmp.Compare(x.fd, y.fd))
	})
	streams := map[string]bool{}
	var bad []string
	var errs []error
	for _, d := range a.descriptors {
		if d.of.pid == a.PID && (d.fd == filterFD || d.fd == lifelineFD || d.fd == environmentFD) {
			continue
		}
		foreign, err := a.foreign(d)
		switch {
		case vanished(err) || errors.Is(err, unix.EBADF):
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", d, err))
		case foreign == "":
		case foreign == stream && (a.isStream(d.link)):
			streams[d.link] = true
		default:
			bad = append(bad, d.String()+" is "+foreign)
		}
	}
	a.judge(fact{section, "of the host", "none but streams", "fd, fdinfo", 5}, cmp.Or(strings.Join(bad, "; "), "none but streams"), len(bad) == 0, errors.Join(errs...))
	a.judge(fact{section, "streams of the host", "at most 3", "fd", 5}, strconv.Itoa(len(streams)), len(streams) <= 3, nil)
	a.checkFilterFile(section)
	lifeline := a.first.links[lifelineFD]
	e, err := a.place(a.path(a.PID, "fd/"+lifelineFD))
	a.judge(fact{section, "lifeline of the first process", "a pipe of root's", "fd/" + lifelineFD, 2}, fmt.Sprintf("%s of user %d", orNone(lifeline), e.uid),
		strings.HasPrefix(lifeline, "pipe:") && e.uid == 0, err)
	environment := a.first.links[environmentFD]
	a.judge(fact{section, "environment of the first process", "in memory", "fd/" + environmentFD, 2}, orNone(environment),
		strings.HasPrefix(filepath.Base(environment), "memfd:"), a.first.err)
}

// stream says of a descriptor that its other end is the host's.
const stream = "a stream of the host"

// isStream reports whether an open file is a standard stream of some process.
func (a *audit) isStream(link string) bool {
	return slices.ContainsFunc(a.descriptors, func(d descriptor) bool {
		return d.link == link && (d.fd == "0" || d.fd == "1" || d.fd == "2")
	})
}

// foreign says what is not the sandbox's own about a descriptor; "" if nothing is.
func (a *audit) foreign(d descriptor) (string, error) {
	kind, _, _ := strings.Cut(d.link, ":")
	if kind == "anon_inode" || kind == "pidfd" {
		return a.foreignAnonymous(d)
	}
	e, err := a.place(a.path(d.of.pid, "fd/"+d.fd))
	if err != nil {
		return "", err
	}
	switch {
	case kind == "socket":
		return a.foreignSocket(d)
	case kind == "pipe" && !a.owns(e.uid):
		return stream, nil
	case kind == "pipe" || a.isOwnMount(e.mount):
		return "", nil
	case !strings.HasPrefix(d.link, "/memfd:"):
		return fmt.Sprintf("on mount %d, which is not the sandbox's", e.mount), nil
	case !a.owns(e.uid):
		return fmt.Sprintf("memory of user %d", e.uid), nil
	}
	return "", nil
}

func (a *audit) foreignAnonymous(d descriptor) (string, error) {
	name := strings.Trim(strings.TrimPrefix(d.link, "anon_inode:"), "[]")
	if strings.HasPrefix(d.link, "pidfd:") {
		name = "pidfd"
	}
	if !slices.Contains(anonymous, name) {
		return "of a kind that a server can't make", nil
	}
	if name != "pidfd" {
		return "", nil
	}
	info, err := os.ReadFile(a.path(d.of.pid, "fdinfo/"+d.fd))
	if err != nil {
		return "", err
	}
	pid, err := strconv.Atoi(parseStatus(string(info))["Pid"])
	if err != nil {
		return "", err
	}
	known := slices.ContainsFunc(a.processes, func(p process) bool { return p.pid == pid })
	if pid > 0 && !known {
		return fmt.Sprintf("process %d of the host", pid), nil
	}
	return "", nil
}

// socket is what a socket says of itself (socket(7)).
type socket struct {
	domain, kind, protocol int
	namespace              string // such as "net:[4026531840]"
}

// foreignSocket judges a socket by the network namespace that it was made in,
// which no table in /proc tells of every socket.
func (a *audit) foreignSocket(d descriptor) (string, error) {
	fd, err := strconv.Atoi(d.fd)
	if err != nil {
		return "", err
	}
	s, err := a.socketOf(d.of.pid, fd)
	if err != nil {
		return "", err
	}
	own := s.namespace == a.first.namespaces["net"]
	ip := (s.domain == unix.AF_INET || s.domain == unix.AF_INET6) && s.kind != unix.SOCK_RAW
	route := s.domain == unix.AF_NETLINK && s.protocol == unix.NETLINK_ROUTE
	switch {
	case own && (s.domain == unix.AF_UNIX || ip || route):
		return "", nil
	case s.domain == unix.AF_UNIX && s.kind == unix.SOCK_STREAM:
		return stream, nil
	}
	return fmt.Sprintf("a socket of family %d, type %d, protocol %d in %s", s.domain, s.kind, s.protocol, s.namespace), nil
}

// sioCGSKNS asks a socket for its network namespace (ioctl_tty(2) has no page for
// it; see include/uapi/linux/sockios.h).
const sioCGSKNS = 0x894C

// socketOf asks a socket of another process, by a copy of its descriptor that is
// closed at once.
func socketOf(pid, fd int) (s socket, err error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return s, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(pidfd)
	own, err := unix.PidfdGetfd(pidfd, fd, 0)
	if err != nil {
		return s, os.NewSyscallError("pidfd_getfd", err)
	}
	defer unix.Close(own)
	for option, value := range map[int]*int{unix.SO_DOMAIN: &s.domain, unix.SO_TYPE: &s.kind, unix.SO_PROTOCOL: &s.protocol} {
		if *value, err = unix.GetsockoptInt(own, unix.SOL_SOCKET, option); err != nil {
			return s, os.NewSyscallError("getsockopt", err)
		}
	}
	namespace, err := unix.IoctlRetInt(own, sioCGSKNS)
	if err != nil {
		return s, os.NewSyscallError("ioctl(SIOCGSKNS)", err)
	}
	defer unix.Close(namespace)
	var st unix.Stat_t
	if err := unix.Fstat(namespace, &st); err != nil {
		return s, os.NewSyscallError("fstat", err)
	}
	s.namespace = fmt.Sprintf("net:[%d]", st.Ino)
	return s, nil
}

// checkFilterFile wants the launcher's filter to be a file of root's that nobody
// can write.
func (a *audit) checkFilterFile(section string) {
	f := fact{section, "filter of the first process", "root's, for reading", "fd/" + filterFD, 2}
	link, ok := a.first.links[filterFD]
	if !ok {
		a.judge(f, "none", false, a.first.err)
		return
	}
	e, err := a.place(a.path(a.PID, f.where))
	info, infoErr := os.ReadFile(a.path(a.PID, "fdinfo/"+filterFD))
	flags, flagsErr := strconv.ParseInt(parseStatus(string(info))["flags"], 8, 64)
	got := fmt.Sprintf("%q, user %d, mode %04o, flags %#o", link, e.uid, e.mode&0o7777, flags)
	good := e.mode&unix.S_IFMT == unix.S_IFREG && e.uid == 0 && e.mode&0o022 == 0 && flags&unix.O_ACCMODE == unix.O_RDONLY
	a.judge(f, got, good, errors.Join(err, infoErr, flagsErr))
}
