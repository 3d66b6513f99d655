package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stage is what becomes of a process between its clone(2), into the namespaces of a new
// sandbox, and the launcher. It is root of those namespaces alone. First it makes what only
// the inside can make and much waits for, while its ids and limits are settled from outside.
// When they are, it gives up everything and executes the launcher, while the daemon goes on
// with the mounts:
//
//	daemon                            stage, launcher
//	                                  file system of /proc
//	                    <-- proc --
//	ids, limits | root, mounts, rules   new network namespace
//	                    < network -
//	            -- go -->
//	network                           host name, cgroup namespace, session keyring,
//	                                  no capability, ids of the server, no_new_privs
//	                    <- ready --   launcher
//	                    - streams ->  server
//
// All of it goes over one socket, of type SOCK_SEQPACKET. Instead of what the stage says, and
// of ready, a report of what has failed can come, or a text of the launcher's.
type stage struct {
	program
	namespaces   uint64
	conn, inside *os.File // the daemon's end of the socket, and the other
}

const hostname = "mcp"

// goSize tells the word to go on, by its length, from all else that the daemon sends.
const goSize = 2

func (p *stage) letGo() error {
	_, err := p.conn.Write(make([]byte, goSize))
	return err
}

// waitForGo takes no other message, such as one with the streams, for that word.
func (p *program) waitForGo() {
	p.add("wait for the daemon", unix.SYS_READ, 0, uintptr(p.room(goSize+1)), goSize+1).returns(goSize)
}

// maxMessage is the most that a message may say.
const maxMessage = 512

// newStage says what the first process does.
func (s *Sandbox) newStage(parts *parts) (*stage, error) {
	p := &stage{namespaces: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS}
	argv := slices.Concat([]string{launcherPath}, parts.launcherFlags(), []string{s.spec.Dir, s.spec.Path}, s.spec.Args)
	arguments, err := p.texts(argv)
	none := uintptr(p.room(unsafe.Sizeof(uintptr(0))))
	if err == nil {
		p.conn, p.inside, err = socketPair()
	}
	if err != nil {
		p.end()
		return nil, err
	}
	files := append([]*os.File{p.inside, p.inside, p.inside}, parts.launcherFiles()...)
	launcher := uintptr(len(files))
	next := launcher + 1 // the first descriptor that is opened
	p.place(append(files, s.runtime.sources.launcher.file))
	p.add("setsid", unix.SYS_SETSID)
	p.add("prctl(PR_SET_PDEATHSIG)", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
	p.add("prctl(PR_SET_DUMPABLE)", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0) // it has the daemon's memory
	p.add("chdir", unix.SYS_CHDIR, p.text("/"))                              // so that it is changed with the root
	p.label(s.spec, next)
	p.handOutProc(next) // and names no path any more
	if s.spec.Network != NetworkHost {
		// Here and not with the others: it takes half a millisecond, in which the
		// daemon does its part.
		p.add("unshare(CLONE_NEWNET)", unix.SYS_UNSHARE, unix.CLONE_NEWNET)
	}
	p.add("tell of the network", unix.SYS_WRITE, 0, uintptr(p.room(1)), 1).returns(1)
	p.waitForGo() // for ids and limits, and
	p.waitForGo() // for the root, whichever is first
	// Here, where nothing waits for it: the kernel waits for all processors.
	p.add("umount2", unix.SYS_UMOUNT2, p.text("."), unix.MNT_DETACH)
	p.add("setgroups", unix.SYS_SETGROUPS, 0, 0)
	p.setIDs(0, 0)
	p.add("unshare(CLONE_NEWCGROUP)", unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP) // its root is where the process is by now
	p.add("sethostname", unix.SYS_SETHOSTNAME, p.text(hostname), uintptr(len(hostname)))
	p.add("keyctl(KEYCTL_JOIN_SESSION_KEYRING)", unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0).optional = unix.ENOSYS // a kernel without keys
	p.add("umask", unix.SYS_UMASK, 0o022)
	p.closeFrom(int(next))
	p.giveUp(s.spec.UID, s.spec.GID, s.runtime.capabilities)
	// By its descriptor: paths lead elsewhere by now, or will in a moment.
	p.add("fcntl", unix.SYS_FCNTL, launcher, unix.F_SETFD, unix.FD_CLOEXEC)
	p.add("execute the launcher", unix.SYS_EXECVEAT, launcher, p.text(""), arguments, none, unix.AT_EMPTY_PATH)
	return p, nil
}

// socketPair makes a connection with another process, message by message.
func socketPair() (own, other *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket"), nil
}

func (p *stage) setIDs(uid, gid int) {
	p.add("setresgid", unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid))
	p.add("setresuid", unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid))
}

// label sets what the security module has the launcher run as, with its keyring.
func (p *stage) label(spec Spec, next uintptr) {
	write := func(name, text string) {
		p.add("open "+name, unix.SYS_OPENAT, 1<<64-100, p.text("/proc/self/attr/"+name), unix.O_WRONLY|unix.O_CLOEXEC).returns(next)
		p.add("set label "+strconv.Quote(text), unix.SYS_WRITE, next, p.text(text), uintptr(len(text)))
		p.closeFrom(int(next))
	}
	if spec.SELinux != "" {
		write("keycreate", spec.SELinux)
		write("exec", spec.SELinux)
	}
	if spec.AppArmor != "" {
		name := "exec"
		if _, err := os.Stat("/proc/self/attr/apparmor/exec"); err == nil {
			name = "apparmor/exec"
		}
		write(name, "exec "+spec.AppArmor)
	}
}

// message is one byte, and a file.
type message struct {
	header unix.Msghdr
	iov    unix.Iovec
	text   byte
	rights [32]byte
}

// handOutProc makes the file system of /proc, which shows the pid namespace of its maker,
// and passes it to the daemon, as a mount that is nowhere yet.
func (p *stage) handOutProc(next uintptr) {
	p.add("fsopen(proc)", unix.SYS_FSOPEN, p.text("proc"), unix.FSOPEN_CLOEXEC).returns(next)
	p.add("fsconfig("+procOption+")", unix.SYS_FSCONFIG, next, unix.FSCONFIG_SET_STRING, p.text(procOption), p.text(procValue))
	p.add("fsconfig(proc)", unix.SYS_FSCONFIG, next, unix.FSCONFIG_CMD_CREATE)
	p.add("fsmount(proc)", unix.SYS_FSMOUNT, next, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC).returns(next + 1)
	rights := unix.UnixRights(int(next + 1))
	m := (*message)(p.room(unsafe.Sizeof(message{})))
	m.iov.Base = &m.text
	m.iov.SetLen(1)
	m.header.Iov = &m.iov
	m.header.SetIovlen(1)
	m.header.Control = &m.rights[0]
	m.header.SetControllen(copy(m.rights[:], rights))
	p.add("sendmsg", unix.SYS_SENDMSG, 0, uintptr(unsafe.Pointer(&m.header)), unix.MSG_NOSIGNAL)
}

// capabilitySets is as capset(2) takes it.
type capabilitySets struct {
	header unix.CapUserHeader
	data   [2]unix.CapUserData
}

// giveUp leaves a process nothing but a user's rights, for good.
func (p *stage) giveUp(uid, gid, capabilities int) {
	for c := range capabilities {
		p.add("prctl(PR_CAPBSET_DROP)", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(c))
	}
	p.setIDs(uid, gid)
	none := (*capabilitySets)(p.room(unsafe.Sizeof(capabilitySets{})))
	none.header.Version = unix.LINUX_CAPABILITY_VERSION_3
	p.add("capset", unix.SYS_CAPSET, uintptr(unsafe.Pointer(&none.header)), uintptr(unsafe.Pointer(&none.data[0])))
	p.add("prctl(PR_CAP_AMBIENT)", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL)
	p.add("prctl(PR_SET_NO_NEW_PRIVS)", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1)
	p.add("prctl(PR_SET_PDEATHSIG)", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL)) // other ids have reset it
	p.add("rt_sigprocmask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(p.room(8)), 0, 8)
}

// countCapabilities says how many this kernel has.
func countCapabilities() (n int) {
	for {
		if _, _, errno := syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_READ, uintptr(n), 0); errno != 0 {
			return n
		}
		n++
	}
}

// hear waits for the stage, or the launcher, to say that all is well, and takes the file
// that comes with it.
func (p *stage) hear() (*os.File, error) { return p.receive(0) }

// errSilent is that nothing more is said.
var errSilent = errors.New("its first process says nothing more")

// because returns what the other side has said of its end, by which err is explained; err
// if it has said nothing.
func (p *stage) because(err error) error {
	file, said := p.receive(unix.MSG_DONTWAIT)
	if file != nil {
		file.Close()
	}
	if said == nil || errors.Is(said, errSilent) {
		return err
	}
	return said
}

func (p *stage) receive(flags int) (*os.File, error) {
	said, rights := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4))
	var n, size int
	err := error(unix.EINTR)
	// Once it says that the other side has ended without reading all, and then what that said.
	for errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNRESET) {
		n, size, _, _, err = unix.Recvmsg(int(p.conn.Fd()), said, rights, unix.MSG_CMSG_CLOEXEC|flags)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errSilent, os.NewSyscallError("recvmsg", err))
	case n == 0:
		return nil, fmt.Errorf("%w: it has ended", errSilent)
	case said[0] == failed:
		return nil, p.failure(said[:n])
	case said[0] != 0:
		return nil, fmt.Errorf("its launcher says %q", strings.TrimSpace(string(said[:n])))
	case size == 0:
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(rights[:size])
	if err != nil || len(messages) != 1 {
		return nil, errors.New("its first process sends no file")
	}
	files, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(files) != 1 {
		return nil, errors.New("its first process sends no file")
	}
	return os.NewFile(uintptr(files[0]), "proc"), nil
}

// settle gives a new process its ids.
func settle(pid int, uids, gids string) error {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	return errors.Join(writeFile(filepath.Join(dir, "uid_map"), uids), writeFile(filepath.Join(dir, "gid_map"), gids))
}

// writeFile writes a file of the kernel's, with one call.
func writeFile(path, text string) error {
	file, err := os.OpenFile(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteString(text)
	return err
}

// settle gives the first process its ids and its limits, and lets it go on.
func (s *Sandbox) settle(stage *stage) error {
	ids := fmt.Sprintf("0 %d %d", s.base, cmp.Or(s.spec.IDs, idRange))
	if err := errors.Join(settle(s.pid, ids, ids), limit(s.cgroup), s.expose()); err != nil {
		return err
	}
	// Before it executes anything: an execve(2) undoes what changes the stack's meanwhile.
	if err := s.limit(func(resource int) bool { return resource != unix.RLIMIT_NOFILE }); err != nil {
		return err
	}
	return stage.letGo()
}

// limitFiles is the last of its limits. While it puts its descriptors in their places, it
// must have the daemon's: those of a daemon with many sandboxes have high numbers.
func (s *Sandbox) limitFiles() error {
	return s.limit(func(resource int) bool { return resource == unix.RLIMIT_NOFILE })
}

func (s *Sandbox) limit(which func(resource int) bool) error {
	for _, l := range s.rlimits() {
		if !which(l.Resource) {
			continue
		}
		if err := unix.Prlimit(s.pid, l.Resource, &unix.Rlimit{Cur: l.Soft, Max: l.Hard}, nil); err != nil {
			return fmt.Errorf("set limit %d of its processes: %w", l.Resource, err)
		}
	}
	return nil
}

// expose gives up what the daemon may have been granted: the kernel would rather end
// anything else when the host's memory is short.
func (s *Sandbox) expose() error {
	score, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil || score[0] != '-' {
		return err
	}
	return writeFile(filepath.Join("/proc", strconv.Itoa(s.pid), "oom_score_adj"), "0")
}
