package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ownMounts are the mount points that every root has beside the spec's.
var ownMounts = []string{"/proc", "/dev"}

// makeRoot makes the folder that becomes the root: empty but for mount points and
// links. It belongs to the host's root, whom no id inside maps to, so even before
// it is made read-only nothing inside can write it.
func makeRoot(root string, spec Spec, trees []tree) error {
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	for _, path := range ownMounts {
		if err := os.Mkdir(filepath.Join(root, path), 0o755); err != nil {
			return fmt.Errorf("make mount point %s: %w", path, err)
		}
	}
	for i, t := range trees {
		outer, rest := covering(t.target, trees[:i])
		switch {
		case outer == nil:
			rest = filepath.Join(root, t.target)
		case outer.memory:
			rest = filepath.Join("/proc/self/fd", strconv.Itoa(int(outer.file.Fd())), rest)
		default:
			continue // it must be there already: what the host shows stays as it is
		}
		if err := makeMountPoint(rest, t.dir); err != nil {
			return fmt.Errorf("make mount point %s: %w", t.target, err)
		}
	}
	if err := makeMountPoint(filepath.Join(root, launcherPath), false); err != nil {
		return fmt.Errorf("make mount point %s: %w", launcherPath, err)
	}
	// The links come last: until now there was none to follow.
	for _, link := range spec.Links {
		if filepath.Dir(link.Name) != "/" {
			return fmt.Errorf("link %s is not at the top of the root", link.Name)
		}
		if err := os.Symlink(link.Target, filepath.Join(root, link.Name)); err != nil {
			return fmt.Errorf("make link %s, where something is mounted perhaps: %w", link.Name, err)
		}
	}
	return nil
}

// covering returns the innermost of trees that a path lies in, and what of the path
// lies in it.
func covering(path string, trees []tree) (outer *tree, rest string) {
	for i := len(trees) - 1; i >= 0; i-- {
		if rest, below := strings.CutPrefix(path, trees[i].target+"/"); below {
			return &trees[i], rest
		}
	}
	return nil, ""
}

func makeMountPoint(path string, dir bool) error {
	if dir {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(path, unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return errors.New("something else is mounted there")
	}
	if err != nil {
		return err
	}
	return file.Close()
}
