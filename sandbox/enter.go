package sandbox

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// onThread runs do on a thread that is nobody else's, and that ends with it. It is never
// the process's first: that can't end, and /proc/self would go on to show its namespaces.
func onThread(do func()) {
	found := make(chan struct{})
	var run func()
	run = func() {
		runtime.LockOSThread() // and no unlock: the thread ends with this goroutine
		if unix.Gettid() == unix.Getpid() {
			go run()
			<-found // it is held until then
			runtime.UnlockOSThread()
			return
		}
		close(found)
		do()
	}
	go run()
}

// enter makes this thread a member of such namespaces of a process.
func enter(process *os.Process, namespaces int) error {
	// Threads share their root and working folder, which setns changes.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	var err error
	if handleErr := process.WithHandle(func(handle uintptr) {
		err = os.NewSyscallError("setns", unix.Setns(int(handle), namespaces))
	}); handleErr != nil {
		return handleErr
	}
	return err
}
