package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mount FILESYSTEM FOLDER
func mount(a []string) error { return unix.Mount("none", a[1], a[0], 0, "") }

// bind FROM TO
func bind(a []string) error { return unix.Mount(a[0], a[1], "", unix.MS_BIND, "") }

// remount makes a mount writable, executable and so on.
func remount(a []string) error { return unix.Mount("", a[0], "", unix.MS_REMOUNT|unix.MS_BIND, "") }

func mountSetattr(a []string) error {
	return unix.MountSetattr(unix.AT_FDCWD, a[0], 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID})
}

func openTreeAttr(a []string) error {
	path, err := unix.BytePtrFromString(a[0])
	if err != nil {
		return err
	}
	attr := unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}
	cwd := unix.AT_FDCWD
	_, _, errno := unix.Syscall6(unix.SYS_OPEN_TREE_ATTR, uintptr(cwd), uintptr(unsafe.Pointer(path)), unix.OPEN_TREE_CLONE,
		uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// newMount goes all the way with the calls that need no path of a source.
func newMount(a []string) error {
	fs, err := unix.Fsopen(a[0], 0)
	if err != nil {
		return err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return err
	}
	tree, err := unix.Fsmount(fs, 0, 0)
	if err != nil {
		return err
	}
	return unix.MoveMount(tree, "", unix.AT_FDCWD, a[1], unix.MOVE_MOUNT_F_EMPTY_PATH)
}
