package sandbox

import (
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

// ownMounts are the mount points that every root has beside the spec's.
var ownMounts = []string{"/proc", "/dev", "/tmp"}

// makeRoot makes the folder that becomes the root: empty but for mount points and
// links. It belongs to the host's root, whom no id inside maps to, so even before
// it is made read-only nothing inside can write it.
func makeRoot(root string, spec Spec) error {
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	for _, link := range spec.Links {
		if filepath.Dir(link.Name) != "/" {
			return fmt.Errorf("link %s is not at the top of the root", link.Name)
		}
		if err := os.Symlink(link.Target, filepath.Join(root, link.Name)); err != nil {
			return err
		}
	}
	for _, path := range ownMounts {
		if err := os.Mkdir(filepath.Join(root, path), 0o755); err != nil {
			return err
		}
	}
	mounts := binds(spec)
	for i, m := range mounts {
		if err := makeMountPoint(root, m, mounts[:i]); err != nil {
			return fmt.Errorf("make mount point %s: %w", m.Target, err)
		}
	}
	return makeMountPoint(root, Mount{Target: launcherPath, Source: "/proc/self/exe"}, mounts)
}

// binds are all bind mounts of a spec, outer ones before those below them.
func binds(spec Spec) []Mount {
	mounts := slices.Clone(spec.Mounts)
	for _, d := range spec.Directories {
		mounts = append(mounts, Mount{Source: d.Path, Target: d.Path})
	}
	slices.SortStableFunc(mounts, func(a, b Mount) int { return strings.Compare(a.Target, b.Target) })
	return mounts
}

// makeMountPoint makes the folder or file that m is mounted on. Where an earlier
// mount covers it, it must be there already: what that mount shows is the host's
// and stays as it is.
func makeMountPoint(root string, m Mount, earlier []Mount) error {
	info, err := os.Stat(m.Source)
	if err != nil {
		return err
	}
	for _, e := range slices.Backward(earlier) {
		rest, below := strings.CutPrefix(m.Target, e.Target+"/")
		if !below {
			continue
		}
		if _, err := os.Lstat(filepath.Join(e.Source, rest)); err != nil {
			return fmt.Errorf("it lies below %s, where the host has no %s: make it there, or mount it elsewhere", e.Target, rest)
		}
		return nil
	}
	path := filepath.Join(root, m.Target)
	if info.IsDir() {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(path, unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	return file.Close()
}

// pin is a file or folder of the host that stays open while it is mounted by its
// path, so that what was mounted can be compared with what was looked at: somebody
// may own a folder of the path and exchange what is in it just then.
type pin struct {
	file *os.File
	info fs.FileInfo
	path string // inside
}

// pinAll opens what a spec shows of the host. No link is followed, wherever it is
// in a path: a server that writes a directory could make one.
func pinAll(spec Spec) (pins []pin, err error) {
	for _, m := range spec.Mounts {
		if pins, err = addPin(pins, m.Source, m.Target, nil); err != nil {
			return pins, err
		}
	}
	for _, d := range spec.Directories {
		if d.Writable && (d.UID == 0 || d.GID == 0) {
			return pins, fmt.Errorf("directory %s: a server never writes as root: make it read-only, or name another owner", d.Path)
		}
		if pins, err = addPin(pins, d.Path, d.Path, d.Info); err != nil {
			return pins, err
		}
		if !pins[len(pins)-1].info.IsDir() {
			return pins, fmt.Errorf("%s is not a directory", d.Path)
		}
	}
	return pins, nil
}

func addPin(pins []pin, source, target string, info fs.FileInfo) ([]pin, error) {
	file, err := openNoLinks(unix.AT_FDCWD, source, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return pins, fmt.Errorf("%s does not exist on the host: create it, or take it out of the configuration", source)
	case errors.Is(err, unix.ELOOP):
		return pins, fmt.Errorf("%s is reached through a symbolic link: name the real path", source)
	case err != nil:
		return pins, err
	}
	if info == nil {
		info, err = file.Stat()
	}
	return append(pins, pin{file, info, target}), err
}

func openNoLinks(dir int, path string, resolve uint64) (*os.File, error) {
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | resolve})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// verify compares what the root of process pid shows with what was opened.
func verify(pins []pin, pid int) error {
	root, err := os.OpenFile(filepath.Join("/proc", strconv.Itoa(pid), "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, p := range pins {
		file, err := openNoLinks(int(root.Fd()), p.path, unix.RESOLVE_IN_ROOT)
		if err != nil {
			return err
		}
		got, err := file.Stat()
		file.Close()
		if err != nil {
			return err
		}
		if !os.SameFile(p.info, got) {
			return fmt.Errorf("%s was exchanged while the sandbox was made", p.path)
		}
	}
	return nil
}

func closePins(pins []pin) {
	for _, p := range pins {
		p.file.Close()
	}
}
