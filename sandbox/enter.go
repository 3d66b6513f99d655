package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// inside runs do on a thread in the mount and network namespaces of process pid.
// The thread ends with do: it is never used for anything else again.
func inside(pid int, do func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and no unlock: the thread ends with this goroutine
		err := enter(pid)
		if err == nil {
			err = do()
		}
		result <- err
	}()
	return <-result
}

func enter(pid int) error {
	// Threads share their root and working folder, which setns changes.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	// Both are opened before either is entered: /proc is another one behind it.
	var namespaces []*os.File
	for _, name := range []string{"net", "mnt"} {
		file, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "ns", name))
		if err != nil {
			return err
		}
		defer file.Close()
		namespaces = append(namespaces, file)
	}
	for _, namespace := range namespaces {
		if err := unix.Setns(int(namespace.Fd()), 0); err != nil {
			return fmt.Errorf("enter %s: %w", namespace.Name(), err)
		}
	}
	return nil
}
