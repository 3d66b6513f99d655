package sandbox

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// builder makes the mounts of one sandbox on a thread of its own: those that can be made
// on the host while the first process is, and the whole in the namespaces of that process.
type builder struct {
	host    *os.File // the mount namespace that it begins in
	root    *os.File
	trees   []tree
	covers  covers
	made    chan struct{} // closed when the first process has been made, or could not be
	stage   *stage        // of that process, and
	rules   *ruleset      // the rules: not before made is closed
	settled chan error    // whether it has its limits; nothing can run before
	result  chan error
}

// build begins, and does the rest at the end: the thread that waits for the result need not
// be woken before. Whoever calls it must close made, if there is a process say whether it is
// settled, and wait for the result.
func (s *Sandbox) build(then func(*stage) error) *builder {
	b := &builder{made: make(chan struct{}), settled: make(chan error, 1), result: make(chan error, 1)}
	onThread(func() {
		err := b.prepare(s)
		<-b.made
		if err == nil && s.process != nil {
			if err = b.complete(s); err == nil {
				err = then(b.stage)
			}
		}
		b.close()
		b.result <- err
	})
	return b
}

// prepare makes what is mounted nowhere yet.
func (b *builder) prepare(s *Sandbox) (err error) {
	if b.trees, err = s.detach(); err != nil {
		return err
	}
	if b.root, err = newRoot(s.spec, b.trees); err != nil {
		return fmt.Errorf("make root: %w", err)
	}
	if b.host, err = os.Open("/proc/thread-self/ns/mnt"); err != nil {
		return err
	}
	b.covers, err = s.runtime.newCovers()
	return err
}

// complete finishes the sandbox from the inside, with the daemon's privileges: its files as
// soon as its first process has the file system of /proc, its network when it has made that.
func (b *builder) complete(s *Sandbox) error {
	proc, err := b.stage.hear()
	if err != nil {
		return err
	}
	defer proc.Close()
	if err := enter(s.process, unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := pivot(b.root); err != nil {
		return err
	}
	if err := b.stage.letGo(); err != nil {
		return err
	}
	if err := b.mount(s.spec, proc); err != nil {
		return err
	}
	if err := b.rules.fill(b.root, s.spec, b.trees); err != nil {
		return err
	}
	// The host's files are there for what is left.
	if err := unix.Setns(int(b.host.Fd()), unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("setns", err)
	}
	if _, err := b.stage.hear(); err != nil {
		return err
	}
	if err := enter(s.process, unix.CLONE_NEWNET); err != nil {
		return err
	}
	if err := s.openNetwork(); err != nil {
		return err
	}
	if err := <-b.settled; err != nil {
		return err
	}
	return s.limitFiles()
}

// mount makes all but the root of the sandbox's file system, in which this thread is.
func (b *builder) mount(spec Spec, proc *os.File) error {
	if err := attach(b.root, append([]tree{{file: proc, target: procPath, dir: true}}, b.trees...)); err != nil {
		return err
	}
	if err := b.makeReadOnly(); err != nil {
		return err
	}
	// The launcher enters it, and would not say which it is.
	dir, err := unix.Openat2(int(b.root.Fd()), spec.Dir, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return fmt.Errorf("working directory %s: %w", spec.Dir, err)
	}
	unix.Close(dir)
	if err := b.covers.mask(b.root, maskedPaths); err != nil {
		return err
	}
	return b.covers.hide(b.root, spec.Hidden)
}

// makeReadOnly makes what was to be written until now read-only.
func (b *builder) makeReadOnly() error {
	settings, err := openBeneath(b.root, readOnlyPath)
	if err != nil {
		return err
	}
	defer settings.Close()
	copied, err := clone(settings)
	if err != nil {
		return err
	}
	defer copied.Close()
	err = errors.Join(seal(copied), moveMount(copied, settings), seal(b.root))
	for _, t := range b.trees {
		if t.target == devPath {
			err = errors.Join(err, seal(t.file))
		}
	}
	if err != nil {
		return fmt.Errorf("make read-only: %w", err)
	}
	return nil
}

func (b *builder) close() {
	b.host.Close() // nil is no file
	b.root.Close()
	for _, t := range b.trees {
		t.file.Close()
	}
	b.covers.close()
}
