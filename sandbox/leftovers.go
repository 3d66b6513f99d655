package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// leftovers are what a daemon that was killed has left on the host. The kernel
// ends its sandboxes with it and their namespaces and mounts with them, but for
// those that the v1 freezer holds and those that were still being made.
type leftovers struct {
	processes int
	cgroups   []string // names
	mounts    []string
	files     []string // names in the daemon's folder
}

// Sweep ends and removes what daemons that are gone have left: processes and
// cgroups beside those of this one, and everything in dir, which no other daemon
// may be using. It says in the log what that was. It comes before New.
func Sweep(dir string) error {
	h, err := findHierarchy()
	if err != nil {
		return err
	}
	var l leftovers
	err = errors.Join(l.removeCgroups(h.top.GetPaths()), l.renew(dir))
	if len(l.cgroups)+len(l.mounts)+len(l.files) > 0 {
		slog.Warn("removed what a daemon that was killed had left",
			"processes", l.processes, "cgroups", l.cgroups, "mounts", l.mounts, "folder", dir, "files", l.files)
	}
	if err != nil {
		return fmt.Errorf("remove what a daemon that was killed has left: %w", err)
	}
	return nil
}

// removeCgroups removes what is beside ours, at paths. What stays harms nobody
// once its processes are gone.
func (l *leftovers) removeCgroups(paths map[string]string) error {
	var gone []string
	for _, path := range paths {
		beside, err := filepath.Glob(filepath.Join(filepath.Dir(path), cgroupPrefix+"*"))
		if err != nil {
			return err
		}
		gone = append(gone, slices.DeleteFunc(beside, inUse)...)
	}
	err := l.endProcesses(gone)
	for _, path := range gone {
		if removeErr := cgroups.RemovePath(path); removeErr != nil {
			slog.Warn("could not remove the cgroup of a daemon that is gone", "cgroup", path, "err", removeErr)
			continue
		}
		if name := filepath.Base(path); !slices.Contains(l.cgroups, name) { // once, not for each controller
			l.cgroups = append(l.cgroups, name)
		}
	}
	return err
}

// inUse reports whether the daemon of a cgroup still runs, or it is no daemon's.
func inUse(path string) bool {
	pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(path), cgroupPrefix))
	return err != nil || !errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

// endProcesses kills every process in the cgroups and returns when they are gone.
func (l *leftovers) endProcesses(paths []string) error {
	ended := map[int]bool{}
	defer func() { l.processes = len(ended) }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		held := map[int]*os.Process{}
		for pid := range processesIn(paths) {
			if p, err := os.FindProcess(pid); err == nil {
				held[pid] = p
			}
		}
		if len(held) == 0 {
			return nil
		}
		// Who is still listed now that it is held (pidfd_open(2)) is no other
		// process that got the number of one that ended.
		for pid := range processesIn(paths) {
			if p := held[pid]; p != nil && p.Kill() == nil {
				ended[pid] = true
			}
		}
		for _, path := range paths {
			thawAll(path)
		}
		for _, p := range held {
			_ = p.Release()
		}
		<-tick.C
	}
	return fmt.Errorf("processes %v do not end", slices.Collect(maps.Keys(processesIn(paths))))
}

func processesIn(paths []string) map[int]bool {
	found := map[int]bool{}
	for _, path := range paths {
		pids, _ := cgroups.GetAllPids(path) // it may just have gone
		for _, pid := range pids {
			found[pid] = true
		}
	}
	return found
}

// thawAll thaws a cgroup and those below it, with the v1 freezer: cgroup v2 ends
// what is frozen.
func thawAll(path string) {
	_ = filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			_ = cgroups.WriteFile(path, "freezer.state", string(cgroups.Thawed)) // a file of one hierarchy only
		}
		return nil
	})
}

// renew makes dir an empty folder of mode 0711. It removes nothing through a
// mount: that is a project's, or the host's.
func (l *leftovers) renew(dir string) error {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for _, path := range slices.Backward(mounts) { // the last one is on top
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
		l.mounts = append(l.mounts, path)
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		l.files = append(l.files, entry.Name())
	}
	return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o711))
}

// mountsBelow lists the mount points below dir, in the order they were made in.
func mountsBelow(dir string) ([]string, error) {
	parent, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if err != nil {
		return nil, err
	}
	own := filepath.Join(parent, filepath.Base(dir))
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(own))
	var found []string
	for _, m := range mounts {
		if m.Mountpoint != own {
			found = append(found, m.Mountpoint)
		}
	}
	return found, err
}
