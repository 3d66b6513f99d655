package hostids

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// As runs do on a thread with another user id, which the kernel tells who is connected to.
func As(uid int, do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			panic(errno)
		}
		do()
	}()
	<-done
}
