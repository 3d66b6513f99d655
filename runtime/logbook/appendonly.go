package logbook

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// appendOnly opens a file so that nobody can shorten it through the descriptor,
// whoever gets it: O_APPEND alone allows ftruncate(2). The kernel decides that when
// a file is opened (landlock(7), since Linux 6.2), so a thread opens it that may not
// truncate files, and ends. Older kernels can't; there the signed heads tell.
func appendOnly(open func() (int, error)) (fd int, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for ever: the thread ends with this
		forbidTruncation()
		fd, err = open()
	}()
	<-done
	return fd, err
}

func forbidTruncation() {
	attr := unix.LandlockRulesetAttr{Handled_access_fs: unix.LANDLOCK_ACCESS_FS_TRUNCATE}
	rules, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr.Handled_access_fs), 0)
	if errno != 0 {
		return
	}
	_, _, _ = unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, rules, 0, 0)
	_ = unix.Close(int(rules))
}
