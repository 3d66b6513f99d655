package sandbox

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Landlock narrows from inside what mounts and namespaces allow already
// (landlock(7)): what can be written, and on kernels that have it (ABI 6, Linux
// 6.12) signals and abstract sockets to anything outside.
type Landlock struct {
	Off      bool
	Required bool     // a kernel without it keeps the sandbox from starting
	Read     []string // all that can be read and executed beside /proc, /dev and what is writable; empty: everything
}

// What the rules are about. Kernels that do not know the later ones are not asked
// for them.
const (
	landlockRead  = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	landlockWrite = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_REFER | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	landlockDevices = unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK // in no rule: nobody may
)

// scopeABI is the first version with scopes.
const scopeABI = 6

// ruleset is a Landlock ruleset that the launcher puts itself and the server
// under.
type ruleset struct {
	file    *os.File
	handled uint64
}

// landlockABI returns the kernel's version of Landlock, 0 where it has none.
func landlockABI() int {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(version)
}

// newRuleset makes an empty ruleset, or none where the spec or the kernel has no
// Landlock.
func newRuleset(spec Spec) (*ruleset, error) {
	abi := landlockABI()
	switch {
	case spec.Network == NetworkHost && (abi < scopeABI || spec.Landlock.Off):
		return nil, errors.New("the host's network is open to it, and only Landlock can keep it from the host's abstract sockets: that needs Linux 6.12 and landlock.mode other than \"off\"")
	case spec.Landlock.Off:
		return nil, nil
	case abi == 0 && spec.Landlock.Required:
		return nil, errors.New("its profile requires Landlock, and this kernel has none: boot with landlock in lsm=, or use landlock.mode = \"available\"")
	case abi == 0:
		return nil, nil
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: landlockRead | landlockWrite | landlockDevices}
	if abi < 2 {
		attr.Handled_access_fs &^= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi < 3 {
		attr.Handled_access_fs &^= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 5 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= scopeABI {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return nil, os.NewSyscallError("landlock_create_ruleset", errno)
	}
	return &ruleset{os.NewFile(fd, "landlock"), attr.Handled_access_fs}, nil
}

// fill adds the rules. They are about files rather than paths, so it must run
// where the sandbox's mounts are visible, after the last of them.
func (r *ruleset) fill(root *os.File, spec Spec, trees []tree) error {
	if r == nil {
		return nil
	}
	read := spec.Landlock.Read
	if len(read) == 0 {
		read = []string{"/"}
	}
	type rule struct {
		path   string
		access uint64
	}
	rules := []rule{
		{"/proc", landlockRead}, {"/dev/shm", landlockRead | landlockWrite},
		{"/dev", landlockRead | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV},
	}
	for _, path := range read {
		rules = append(rules, rule{path, landlockRead})
	}
	for _, t := range trees {
		if t.writable {
			rules = append(rules, rule{t.target, landlockRead | landlockWrite})
		}
	}
	for _, one := range rules {
		if err := r.allow(root, one.path, one.access); err != nil {
			return fmt.Errorf("landlock rule for %s: %w", one.path, err)
		}
	}
	return nil
}

// fileAccess is all that a rule for a file, rather than a folder, may have.
const fileAccess = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
	unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV

func (r *ruleset) allow(root *os.File, path string, access uint64) error {
	file, err := openBeneath(root, path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.IsDir() {
		access &= fileAccess
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access & r.handled, Parent_fd: int32(file.Fd())}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, r.file.Fd(), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("landlock_add_rule", errno)
	}
	return nil
}

func (r *ruleset) close() {
	if r != nil {
		r.file.Close()
	}
}
