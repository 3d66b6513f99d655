package inspect

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// entry is a file as the kernel shows it (statx(2)).
type entry struct {
	mode    uint32
	uid     int    // on the host, as its mount maps it
	number  uint64 // of a device
	device  string // major:minor of its file system
	inode   uint64
	mount   int  // id of the mount it is on
	mounted bool // it is a mount point
	empty   bool // a regular file or a folder with nothing in it
}

// inside is what shows in a sandbox.
type inside interface {
	look(path string) (entry, error)
	list(folder string) ([]string, error)
}

// root is a sandbox's root, by its first process. A path is looked up as a process
// inside would; no link leads out.
type root string

func (r root) open(path string, flags uint64) (*os.File, error) {
	dir, err := unix.Open(string(r), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: string(r), Err: err}
	}
	defer unix.Close(dir)
	how := unix.OpenHow{Flags: flags | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(dir, "./"+strings.TrimPrefix(path, "/"), &how)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path + " inside", Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func (r root) look(path string) (entry, error) {
	file, err := r.open(path, unix.O_PATH)
	if err != nil {
		return entry{}, err
	}
	defer file.Close()
	e, err := lookAt(int(file.Fd()), "")
	if err == nil && e.mode&unix.S_IFMT == unix.S_IFDIR && e.mounted {
		var names []string
		names, err = r.list(path)
		e.empty = len(names) == 0
	}
	return e, err
}

func (r root) list(folder string) ([]string, error) {
	file, err := r.open(folder, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return file.Readdirnames(-1)
}

// lookAt looks at a path, or with none at an open file. A link at its end is
// followed: those in a process's folder lead to what it holds.
func lookAt(dir int, path string) (entry, error) {
	flags := unix.AT_NO_AUTOMOUNT
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	var st unix.Statx_t
	if err := unix.Statx(dir, path, flags, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &st); err != nil {
		return entry{}, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	if st.Mask&unix.STATX_MNT_ID == 0 || st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return entry{}, fmt.Errorf("statx %s: this kernel does not tell mounts: it is older than 5.8", strconv.Quote(path))
	}
	return entry{
		mode: uint32(st.Mode), uid: int(st.Uid), number: unix.Mkdev(st.Rdev_major, st.Rdev_minor),
		device: fmt.Sprintf("%d:%d", st.Dev_major, st.Dev_minor), inode: st.Ino, mount: int(st.Mnt_id),
		mounted: st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0,
		empty:   st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == 0,
	}, nil
}
