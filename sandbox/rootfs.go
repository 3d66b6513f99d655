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

// newRoot makes the root: a file system in memory that is empty but for mount points and
// links. It belongs to the host's root, whom no id inside maps to, so even before it is made
// read-only nothing inside can write it.
func newRoot(spec Spec, trees []tree) (*os.File, error) {
	root, err := newTmpfs("mode=755")
	if err != nil {
		return nil, err
	}
	if err := fillRoot(fdPath(root), spec, trees); err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

// fdPath names an open file.
func fdPath(file *os.File) string {
	return filepath.Join("/proc/self/fd", strconv.Itoa(int(file.Fd())))
}

func fillRoot(root string, spec Spec, trees []tree) error {
	if err := os.Mkdir(filepath.Join(root, procPath), 0o755); err != nil {
		return fmt.Errorf("make mount point %s: %w", procPath, err)
	}
	for i, t := range trees {
		outer, rest := covering(t.target, trees[:i])
		switch {
		case outer == nil:
			rest = filepath.Join(root, t.target)
		case outer.memory:
			rest = filepath.Join(fdPath(outer.file), rest)
		default:
			continue // it must be there already: what the host shows stays as it is
		}
		if err := makeMountPoint(rest, t.dir); err != nil {
			return fmt.Errorf("make mount point %s: %w", t.target, err)
		}
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
