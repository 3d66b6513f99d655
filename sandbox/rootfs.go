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
// path, so that what was mounted can be compared with what was looked at.
type pin struct {
	file *os.File
	path string // inside
}

// pinAll opens what a spec shows of the host. A folder of the path may belong to
// somebody who changes it just now; a link is never followed to a directory that a
// server may write.
func pinAll(spec Spec) (pins []pin, err error) {
	for _, m := range spec.Mounts {
		file, err := os.OpenFile(m.Source, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return pins, err
		}
		pins = append(pins, pin{file, m.Target})
	}
	for _, d := range spec.Directories {
		if d.Writable && (d.UID == 0 || d.GID == 0) {
			return pins, fmt.Errorf("directory %s: a server never writes as root: make it read-only, or name another owner", d.Path)
		}
		fd, err := unix.Openat2(unix.AT_FDCWD, d.Path, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_NO_SYMLINKS,
		})
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return pins, fmt.Errorf("directory %s does not exist on the host: create it, or take it out of allowed_directories", d.Path)
		case errors.Is(err, unix.ELOOP):
			return pins, fmt.Errorf("directory %s is reached through a symbolic link: name the real folder", d.Path)
		case err != nil:
			return pins, fmt.Errorf("directory %s: %w", d.Path, err)
		}
		pins = append(pins, pin{os.NewFile(uintptr(fd), d.Path), d.Path})
	}
	return pins, nil
}

// verify compares what the root of process pid shows with what was opened.
func verify(pins []pin, pid int) error {
	for _, p := range pins {
		want, err := p.file.Stat()
		if err != nil {
			return err
		}
		got, err := os.Lstat(filepath.Join("/proc", strconv.Itoa(pid), "root", p.path))
		if err != nil {
			return err
		}
		if !os.SameFile(want, got) {
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
