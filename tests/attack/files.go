package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

func read(a []string) error {
	fd, err := unix.Open(a[0], unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	return ignoring(unix.Read(fd, make([]byte, 1)))
}

func list(a []string) error {
	entries, err := os.ReadDir(a[0])
	if err == nil && len(entries) == 0 {
		return errors.New("empty")
	}
	return err
}

// openWrite does not write. What /dev/null was put over is out of reach.
func openWrite(a []string) error {
	fd, err := unix.Open(a[0], unix.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3) {
		return errors.New("masked")
	}
	return nil
}

func create(a []string) error {
	return closing(unix.Open(a[0], unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644))
}

// linkOpen FROM TO makes a name for an open file rather than for a path.
func linkOpen(a []string) error {
	fd, err := unix.Open(a[0], unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, a[1], unix.AT_SYMLINK_FOLLOW)
}

// readSymlink LINK TARGET makes the link and reads through it.
func readSymlink(a []string) error {
	if err := unix.Symlink(a[1], a[0]); err != nil {
		return err
	}
	defer func() { _ = unix.Unlink(a[0]) }()
	return read(a[:1])
}

// readBeneath FOLDER PATH climbs out of an open folder.
func readBeneath(a []string) error {
	dir, err := unix.Open(a[0], unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	return closing(unix.Openat(dir, strings.Repeat("../", 40)+a[1], unix.O_RDONLY, 0))
}

// overwrite PROGRAM keeps a descriptor of it and opens that again for writing once
// nobody executes the program (CVE-2019-5736).
func overwrite(a []string) error {
	fd, err := unix.Open(a[0], unix.O_PATH, 0)
	if err != nil {
		return err
	}
	again := fmt.Sprintf("/proc/self/fd/%d", fd)
	for range 1000 {
		if err = closing(unix.Open(again, unix.O_WRONLY|unix.O_APPEND, 0)); !errors.Is(err, unix.ETXTBSY) {
			break
		}
	}
	return err
}

// flagImmutable is FS_IMMUTABLE_FL (ioctl_iflags(2)).
const flagImmutable = 0x10

// immutable FILE keeps even its owner from changing it (chattr +i), and undoes it.
func immutable(a []string) error {
	fd, err := unix.Open(a[0], unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	if err := unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, flagImmutable); err != nil {
		return err
	}
	return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, 0)
}

// capability is a struct vfs_cap_data, revision 2: CAP_CHOWN to CAP_SYS_CHROOT, and
// in force.
var capability = []byte{1, 0, 0, 2, 0xff, 0xff, 0x07, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// The four ways to FILE's attribute NAME.

func setxattr(a []string) error  { return unix.Setxattr(a[0], a[1], capability, 0) }
func lsetxattr(a []string) error { return unix.Lsetxattr(a[0], a[1], capability, 0) }

func fsetxattr(a []string) error {
	fd, err := unix.Open(a[0], unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	return unix.Fsetxattr(fd, a[1], capability, 0)
}

func setxattrat(a []string) error {
	path, err := unix.BytePtrFromString(a[0])
	if err != nil {
		return err
	}
	name, err := unix.BytePtrFromString(a[1])
	if err != nil {
		return err
	}
	value := struct {
		address    uint64
		size, flag uint32
	}{uint64(uintptr(unsafe.Pointer(&capability[0]))), uint32(len(capability)), 0}
	cwd := unix.AT_FDCWD
	_, _, errno := unix.Syscall6(unix.SYS_SETXATTRAT, uintptr(cwd), uintptr(unsafe.Pointer(path)), 0,
		uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(&value)), unsafe.Sizeof(value))
	if errno != 0 {
		return errno
	}
	return nil
}

// tmpfileLink PATH makes a file without a name, gives it the bit, and then a name.
func tmpfileLink(a []string) error {
	fd, err := unix.Open(filepath.Dir(a[0]), unix.O_TMPFILE|unix.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Fchmod(fd, 0o4755); err != nil {
		return err
	}
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, a[0], unix.AT_SYMLINK_FOLLOW)
}

// runCopy PATH puts a program there and executes it.
func runCopy(a []string) error {
	if err := copyFile("/proc/self/exe", a[0]); err != nil {
		return err
	}
	defer os.Remove(a[0])
	return exec.Command(a[0], "nothing").Run()
}

// runLoader PATH has the dynamic loader execute a program that can't be executed
// by its name.
func runLoader(a []string) error {
	if err := copyFile("/bin/true", a[0]); err != nil {
		return err
	}
	defer os.Remove(a[0])
	loaders, err := filepath.Glob("/lib64/ld-linux*")
	if len(loaders) == 0 {
		loaders, err = filepath.Glob("/lib/ld-linux*")
	}
	if err != nil || len(loaders) == 0 {
		return errors.New("no loader")
	}
	return exec.Command(loaders[0], a[0]).Run()
}

func runMemory([]string) error {
	fd, err := unix.MemfdCreate("attack", 0)
	if err != nil {
		return err
	}
	path := fmt.Sprintf("/proc/self/fd/%d", fd)
	if err := copyFile("/proc/self/exe", path); err != nil {
		return err
	}
	return exec.Command(path, "nothing").Run()
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o755)
}

// raise PROGRAM executes a copy of this one that has a set-id bit or capabilities,
// and asks it what it has more.
func raise(a []string) error {
	mine, err := exec.Command("/proc/self/exe", "see", "rights").Output()
	if err != nil {
		return err
	}
	its, err := exec.Command(a[0], "see", "rights").Output()
	if err == nil && bytes.Equal(mine, its) {
		return errors.New("same-rights")
	}
	return err
}

const maxDepth = 3

// writable FOLDER prints every folder below in which a file can be made and every
// file that can be opened for writing, and how many it tried. /proc is procfs's.
// What lies deeper than maxDepth lies on the same mounts.
func writable(a []string) error {
	tried := 0
	err := filepath.WalkDir(a[0], func(path string, entry fs.DirEntry, err error) error {
		switch {
		case path == "/proc":
			return fs.SkipDir
		case err != nil:
			return nil // it can't be listed, and was tried itself
		}
		tried++
		name := filepath.Join(path, ".attack")
		switch {
		case entry.IsDir():
			err = create([]string{name})
			_ = unix.Unlink(name)
		case entry.Type()&(fs.ModeSymlink|fs.ModeNamedPipe) == 0:
			err = closing(unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK, 0))
		default:
			return nil
		}
		if err == nil {
			fmt.Println(path)
		}
		if entry.IsDir() && strings.Count(path, "/") > maxDepth {
			return fs.SkipDir
		}
		return nil
	})
	fmt.Println("tried", tried)
	return err
}

// procfs read|write prints every file of /proc beside those of processes that can
// be opened so and is neither empty nor a device.
func procfs(a []string) error {
	return filepath.WalkDir("/proc", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if _, err := strconv.Atoi(entry.Name()); err == nil && filepath.Dir(path) == "/proc" {
			return fs.SkipDir
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		if a[0] == "write" && openWrite([]string{path}) == nil || a[0] == "read" && hasContent(path) {
			fmt.Println(path)
		}
		return nil
	})
}

func hasContent(path string) bool {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, make([]byte, 64))
	return err == nil && n > 0
}

// descriptors prints which beside the standard streams this process was given.
func descriptors([]string) error {
	for fd := 3; fd < 1024; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
			fmt.Println(fd, target, verdict(err))
		}
	}
	dir, err := os.Getwd()
	fmt.Println("in", dir, verdict(err))
	return nil
}

// setid FOLDER tries to leave files with set-id bits there, by every way.
func setid(a []string) error {
	unix.Umask(0)
	const mode = 0o6755
	for name, make := range map[string]func(path string) error{
		"chmod": func(p string) error { return errors.Join(create([]string{p}), unix.Chmod(p, mode)) },
		"fchmodat": func(p string) error {
			return errors.Join(create([]string{p}), unix.Fchmodat(unix.AT_FDCWD, p, mode, 0))
		},
		"openat": func(p string) error { return closing(unix.Open(p, unix.O_CREAT|unix.O_WRONLY, mode)) },
		"openat2": func(p string) error {
			return closing(unix.Openat2(unix.AT_FDCWD, p, &unix.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY, Mode: mode}))
		},
		"creat":   func(p string) error { return closing(unix.Creat(p, mode)) },
		"mknod":   func(p string) error { return unix.Mknod(p, unix.S_IFREG|mode, 0) },
		"mkdir":   func(p string) error { return unix.Mkdir(p, mode) },
		"tmpfile": func(p string) error { return tmpfileLink([]string{p}) },
		"rename": func(p string) error {
			return errors.Join(closing(unix.Open(p+"-", unix.O_CREAT|unix.O_WRONLY, mode)), unix.Rename(p+"-", p))
		},
		"link": func(p string) error {
			return errors.Join(closing(unix.Open(p+"-", unix.O_CREAT|unix.O_WRONLY, mode)), unix.Link(p+"-", p))
		},
		"cp":      func(p string) error { return exec.Command("cp", "-p", "/usr/bin/passwd", p).Run() },
		"install": func(p string) error { return exec.Command("install", "-m", "6755", "/bin/true", p).Run() },
		"chmod-command": func(p string) error {
			return errors.Join(create([]string{p}), exec.Command("chmod", "ug+s", p).Run())
		},
	} {
		fmt.Println(name, verdict(make(filepath.Join(a[0], name))))
	}
	return nil
}

// nest FOLDER N makes N folders, each in the one before.
func nest(a []string) error {
	n, err := strconv.Atoi(a[1])
	if err != nil {
		return err
	}
	if err := os.Chdir(a[0]); err != nil {
		return err
	}
	for range n {
		if err := errors.Join(unix.Mkdir("deeper", 0o755), unix.Chdir("deeper")); err != nil {
			return err
		}
	}
	fmt.Println("ok")
	return nil
}

// exchange A B puts each in the other's place until it is killed.
func exchange(a []string) error {
	fmt.Println("ready")
	for {
		if err := unix.Renameat2(unix.AT_FDCWD, a[0], unix.AT_FDCWD, a[1], unix.RENAME_EXCHANGE); err != nil {
			return err
		}
	}
}

// overwriteInPlace FILE write|truncate|mmap
func overwriteInPlace(a []string) error {
	file, err := os.OpenFile(a[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	switch a[1] {
	case "write":
		return ignoring(file.WriteString("x"))
	case "truncate":
		return file.Truncate(1)
	}
	memory, err := unix.Mmap(int(file.Fd()), 0, 1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	memory[0] = 'x'
	return unix.Msync(memory, unix.MS_SYNC)
}
