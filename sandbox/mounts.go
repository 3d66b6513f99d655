package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// tree is a file tree that is mounted nowhere yet: a copy of a part of the host's,
// or an empty one in memory. Its attributes are set, so it is never visible
// without them.
type tree struct {
	file     *os.File
	target   string
	dir      bool
	memory   bool
	writable bool
}

// Open opens a file or folder of the host that a Mount shows. No link is followed,
// wherever it is in the path: a server that writes a directory could make one.
func Open(path string) (*os.File, error) {
	root, err := os.OpenFile("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	file, err := openBeneath(root, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s does not exist on the host: create it, or take it out of the configuration", path)
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("%s is reached through a symbolic link: name the real path", path)
	}
	return file, err
}

// openBeneath opens an absolute path below root, following no link at all. There
// is no way around a kernel without openat2(2): any other look-up could be led
// astray.
func openBeneath(root *os.File, path string) (*os.File, error) {
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(int(root.Fd()), "."+filepath.Clean("/"+path), how)
		switch {
		case err == unix.EINTR, err == unix.EAGAIN: // a rename at the same time (openat2(2))
		case err != nil:
			return nil, fmt.Errorf("open %s: %w", path, err)
		default:
			return os.NewFile(uintptr(fd), path), nil
		}
	}
}

// detach makes all trees of the sandbox, outer ones before those below them.
func (s *Sandbox) detach() (trees []tree, err error) {
	owners := map[[2]int]*os.File{}
	defer func() {
		for _, namespace := range owners {
			namespace.Close()
		}
	}()
	for _, m := range s.spec.Mounts {
		if err := checkTarget(m.Target); err != nil {
			return trees, fmt.Errorf("mount %s: %w", m.Target, err)
		}
		t, err := s.detachMount(m, owners)
		if err != nil {
			return trees, fmt.Errorf("mount %s: %w", m.Target, err)
		}
		trees = append(trees, t)
	}
	for _, t := range append(s.spec.Tmpfs, Tmpfs{Target: "/tmp", Size: cmp.Or(s.spec.TmpSize, defaultTmpSize)}) {
		err := checkTarget(t.Target)
		if err != nil {
			return trees, fmt.Errorf("mount %s: %w", t.Target, err)
		}
		file, err := newFolder(t.Size)
		if err != nil {
			return trees, fmt.Errorf("mount %s: %w", t.Target, err)
		}
		trees = append(trees, tree{file: file, target: filepath.Clean(t.Target), dir: true, memory: true, writable: true})
	}
	own, err := s.ownTrees()
	trees = append(trees, own...)
	if err != nil {
		return trees, err
	}
	slices.SortStableFunc(trees, func(a, b tree) int { return strings.Compare(a.target, b.target) })
	return trees, nil
}

// checkTarget refuses to cover what makes a sandbox one: its root, its own mounts,
// and the launcher, instead of which another program would run first.
func checkTarget(path string) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return errors.New("its target must be an absolute path in its shortest form")
	}
	for _, own := range []string{"/proc", "/dev", "/sys", "/run"} {
		if path == "/" || path == own || strings.HasPrefix(path, own+"/") {
			return fmt.Errorf("%s is the sandbox's own: mount it elsewhere", path)
		}
	}
	return nil
}

func (s *Sandbox) detachMount(m Mount, owners map[[2]int]*os.File) (tree, error) {
	source := m.File
	if source == nil {
		opened, err := Open(m.Source)
		if err != nil {
			return tree{}, err
		}
		defer opened.Close()
		source = opened
	}
	attr := unix.MountAttr{Attr_set: attributes(m), Propagation: unix.MS_PRIVATE}
	switch {
	case m.UID != 0 && m.GID != 0:
		namespace, err := s.ownerNamespace(m, owners)
		if err != nil {
			return tree{}, err
		}
		attr.Attr_set |= unix.MOUNT_ATTR_IDMAP
		attr.Userns_fd = uint64(namespace.Fd())
	case m.Writable:
		return tree{}, errors.New("a server never writes as root: make it read-only, or name another owner")
	}
	info, err := source.Stat()
	if err != nil {
		return tree{}, err
	}
	file, err := clone(source)
	if err != nil {
		return tree{}, err
	}
	if err := unix.MountSetattr(int(file.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		file.Close()
		if m.UID != 0 && err == unix.EINVAL {
			return tree{}, fmt.Errorf("the file system of %s, or of one mounted below it, can't be idmapped: make it read-only and owned by root, or move it", m.Source)
		}
		return tree{}, os.NewSyscallError("mount_setattr", err)
	}
	return tree{file: file, target: filepath.Clean(m.Target), dir: info.IsDir(), writable: m.Writable}, nil
}

// attributes are what a mount of the host has inside. A file that can be written
// can't be executed by its name: programs come in by read-only mounts.
func attributes(m Mount) uint64 {
	set := uint64(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV)
	if !m.Writable {
		set |= unix.MOUNT_ATTR_RDONLY
	}
	if m.Writable || m.NoExec {
		set |= unix.MOUNT_ATTR_NOEXEC
	}
	return set
}

// ownerNamespace returns a user namespace that maps the owner on disk to the user
// inside, and nobody else: files of other users show as nobody's and can't be made.
func (s *Sandbox) ownerNamespace(m Mount, owners map[[2]int]*os.File) (*os.File, error) {
	key := [2]int{m.UID, m.GID}
	if owners[key] != nil {
		return owners[key], nil
	}
	namespace, err := newOwner(fmt.Sprintf("%d %d 1", m.UID, s.base+s.spec.UID), fmt.Sprintf("%d %d 1", m.GID, s.base+s.spec.GID))
	if err != nil {
		return nil, fmt.Errorf("make a user namespace: %w", err)
	}
	owners[key] = namespace
	return namespace, nil
}

// newOwner makes a user namespace with these ids. The process in it only waits for its
// end.
func newOwner(uids, gids string) (*os.File, error) {
	own, inside, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer own.Close()
	defer inside.Close()
	var p program
	defer p.end()
	p.place([]*os.File{inside})
	p.add("prctl(PR_SET_PDEATHSIG)", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
	p.add("wait for the daemon", unix.SYS_READ, 0, uintptr(p.room(1)), 1)
	pid, err := p.start(unix.CLONE_NEWUSER, nil)
	if err != nil {
		return nil, err
	}
	namespace, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "ns/user"))
	err = errors.Join(err, settle(pid, uids, gids), unix.Kill(pid, unix.SIGKILL))
	if _, waitErr := unix.Wait4(pid, nil, 0, nil); err == nil { // nobody else knows of it
		err = waitErr
	}
	if err != nil && namespace != nil {
		namespace.Close()
		return nil, err
	}
	return namespace, err
}

// newFolder makes an empty folder in memory that everybody may write.
func newFolder(size int64) (*os.File, error) {
	return newTmpfs("mode=1777", "size="+strconv.FormatInt(size, 10), "nr_inodes="+strconv.FormatInt(inodes(size), 10))
}

// newTmpfs makes an empty tmpfs(5), mounted nowhere.
func newTmpfs(options ...string) (*os.File, error) {
	fd, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(fd)
	for _, option := range options {
		name, value, _ := strings.Cut(option, "=")
		if err := unix.FsconfigSetString(fd, name, value); err != nil {
			return nil, fmt.Errorf("tmpfs option %s: %w", option, err)
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return nil, os.NewSyscallError("fsconfig", err)
	}
	mount, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsmount", err)
	}
	return os.NewFile(uintptr(mount), "tmpfs"), nil
}

// seal makes a mount read-only.
func seal(tree *os.File) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	return os.NewSyscallError("mount_setattr", unix.MountSetattr(int(tree.Fd()), "", unix.AT_EMPTY_PATH, &attr))
}

// pivot makes a tree the root of this thread's mount namespace and of the processes in
// it. All that was there before comes to lie on it, until the first process takes it away.
func pivot(root *os.File) error {
	top, err := os.OpenFile("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer top.Close()
	if err := moveMount(root, top); err != nil {
		return err
	}
	if err := unix.Fchdir(int(root.Fd())); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	return os.NewSyscallError("pivot_root", unix.PivotRoot(".", ".")) // pivot_root(2), NOTES
}

// attach mounts all trees in the mount namespace that this thread is in. Targets
// are looked up once, and no link in them is followed.
func attach(root *os.File, trees []tree) error {
	for _, t := range trees {
		point, err := openBeneath(root, t.target)
		if err == nil {
			err = moveMount(t.file, point)
			point.Close()
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("mount %s: it lies below another mount, where the host has no such file or folder: make it there, or mount it elsewhere", t.target)
		case errors.Is(err, unix.ELOOP):
			return fmt.Errorf("mount %s: a symbolic link leads there: name the real path", t.target)
		case err != nil:
			return fmt.Errorf("mount %s: %w", t.target, err)
		}
	}
	return nil
}

func moveMount(tree, point *os.File) error {
	return os.NewSyscallError("move_mount", unix.MoveMount(int(tree.Fd()), "", int(point.Fd()), "",
		unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}

// source is a file or folder of the host of which each sandbox gets a mount.
type source struct {
	file       *os.File
	attributes uint64
}

// detach makes such a mount, which is nowhere yet.
func (s source) detach() (*os.File, error) {
	file, err := clone(s.file)
	if err != nil {
		return nil, err
	}
	attr := unix.MountAttr{Attr_set: s.attributes, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(int(file.Fd()), "", unix.AT_EMPTY_PATH, &attr); err != nil {
		file.Close()
		return nil, os.NewSyscallError("mount_setattr", err)
	}
	return file, nil
}

// cover is an empty file or folder of the host's root that hides what it is
// mounted on. Once it is mounted, more of it are cloned.
type cover struct {
	tree *os.File
	at   string // where it is mounted first
}

func (c *cover) mount(point *os.File) error {
	if c.at == "" {
		c.at = point.Name()
		return moveMount(c.tree, point)
	}
	again, err := clone(c.tree)
	if err != nil {
		return err
	}
	defer again.Close()
	return moveMount(again, point)
}

func clone(source *os.File) (*os.File, error) {
	fd, err := unix.OpenTree(int(source.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
	if err != nil {
		return nil, os.NewSyscallError("open_tree", err)
	}
	return os.NewFile(uintptr(fd), source.Name()), nil
}

// covers are what hides files and what hides folders.
type covers struct{ file, dir *cover }

func (r *Runtime) newCovers() (c covers, err error) {
	file, err := r.sources.emptyFile.detach()
	if err != nil {
		return c, err
	}
	c.file = &cover{tree: file}
	dir, err := r.sources.emptyDir.detach()
	if err != nil {
		return c, err
	}
	c.dir = &cover{tree: dir}
	return c, nil
}

func (c covers) close() {
	for _, one := range []*cover{c.file, c.dir} {
		if one != nil {
			one.tree.Close()
		}
	}
}

// mask is hide for what the kernel alone has named: by path, which takes a quarter of the
// calls. This thread must be in the sandbox.
func (c covers) mask(root *os.File, paths []string) error {
	for _, path := range paths {
		var st unix.Stat_t
		err := unix.Lstat(path, &st)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		cover := c.file
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			cover = c.dir
		}
		switch {
		case err != nil:
		case st.Mode&unix.S_IFMT == unix.S_IFLNK:
			err = unix.ELOOP
		case cover.at == "":
			err = c.hide(root, []string{path})
		default:
			err = os.NewSyscallError("mount", unix.Mount(cover.at, path, "", unix.MS_BIND, ""))
		}
		if err != nil {
			return fmt.Errorf("hide %s: %w", path, err)
		}
	}
	return nil
}

// hide makes files and folders show as empty. What is not there needs no cover.
func (c covers) hide(root *os.File, paths []string) error {
	for _, path := range paths {
		point, err := openBeneath(root, path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("hide %s: %w", path, err)
		}
		info, err := point.Stat()
		switch {
		case err != nil:
		case info.IsDir():
			err = c.dir.mount(point)
		default:
			err = c.file.mount(point)
		}
		point.Close()
		if err != nil {
			return fmt.Errorf("hide %s: %w", path, err)
		}
	}
	return nil
}
