package sandbox

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ownTrees are what every sandbox has beside its spec's mounts and /proc: /dev, and the
// launcher, whose file only root can write.
func (s *Sandbox) ownTrees() (trees []tree, err error) {
	add := func(file *os.File, target string, t tree) {
		t.file, t.target = file, target
		trees = append(trees, t)
	}
	dev, err := newTmpfs("mode=755", "size=64k", "nr_inodes=64")
	if err != nil {
		return trees, fmt.Errorf("mount %s: %w", devPath, err)
	}
	add(dev, devPath, tree{dir: true, memory: true})
	for _, link := range deviceLinks {
		if err := unix.Symlinkat(link.Target, int(dev.Fd()), link.Name); err != nil {
			return trees, fmt.Errorf("make link %s: %w", link.Name, err)
		}
	}
	shm, err := newFolder(cmp.Or(s.spec.ShmSize, defaultShmSize))
	if err != nil {
		return trees, fmt.Errorf("mount %s: %w", shmPath, err)
	}
	add(shm, shmPath, tree{dir: true, memory: true, writable: true})
	for i, d := range deviceNodes {
		device, err := s.runtime.sources.devices[i].detach()
		if err != nil {
			return trees, fmt.Errorf("mount %s/%s: %w", devPath, d.name, err)
		}
		add(device, devPath+"/"+d.name, tree{})
	}
	launcher, err := s.runtime.sources.launcher.detach()
	if err != nil {
		return trees, fmt.Errorf("mount %s: %w", launcherPath, err)
	}
	add(launcher, launcherPath, tree{})
	return trees, nil
}

// sources are what all sandboxes show of the daemon's folder and of the host's /dev.
type sources struct {
	launcher, emptyFile, emptyDir source
	devices                       []source // in the order of deviceNodes
}

func (s *sources) open(dir string) (err error) {
	for _, one := range []struct {
		source     *source
		name       string
		attributes uint64
	}{
		{&s.launcher, launcherFile, attributes(Mount{})},
		{&s.emptyFile, emptyFile, attributes(Mount{NoExec: true})}, {&s.emptyDir, emptyDir, attributes(Mount{NoExec: true})},
	} {
		one.source.attributes = one.attributes
		if one.source.file, err = Open(filepath.Join(dir, one.name)); err != nil {
			return err
		}
	}
	for _, d := range deviceNodes {
		name := filepath.Join(devPath, d.name)
		file, err := Open(name)
		if err != nil {
			return err
		}
		s.devices = append(s.devices, source{file, unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC})
		var st unix.Stat_t
		if err := unix.Fstat(int(file.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(uint32(d.major), uint32(d.minor)) {
			return fmt.Errorf("%s is not the device %d:%d on this host", name, d.major, d.minor)
		}
	}
	return nil
}

func (s *sources) close() {
	for _, one := range append(s.devices, s.launcher, s.emptyFile, s.emptyDir) {
		if one.file != nil {
			one.file.Close()
		}
	}
}
