package sandbox

import (
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ownMemory is what keepBack has found. Whoever makes memory that new processes shall have
// reads it meanwhile, so that this is not taken for what was there before.
var ownMemory struct {
	mu    sync.RWMutex
	pages int // that the process had then, of its own
}

// fewPages may be copied without being noticed.
const fewPages = 256

// newMemory makes memory that new processes share, unlike all other.
func newMemory(size int) ([]byte, error) {
	ownMemory.mu.RLock()
	defer ownMemory.mu.RUnlock()
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	return memory, os.NewSyscallError("mmap", err)
}

// keepBack leaves what this process has in memory by now, but its code, out of the processes that
// it clones. To copy the tables of it takes longer than all else of a clone3(2), the more the
// more sandboxes there are, and each page would have to be copied when it is next written;
// and what the daemon knows is not in them. What os/exec starts shares it until then, but
// not in a new user namespace: nothing of that kind may be started any more.
func keepBack() error {
	ownMemory.mu.Lock()
	defer ownMemory.mu.Unlock()
	pages, err := ownPages()
	if err != nil || pages < ownMemory.pages+fewPages {
		return err
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(maps)) {
		fields := strings.Fields(line)
		if fields[1][2:] != "-p" { // private, and no code (proc_pid_maps(5))
			continue
		}
		var start, end uintptr
		if _, err := fmt.Sscanf(fields[0], "%x-%x", &start, &end); err != nil {
			return err
		}
		// It may have gone meanwhile.
		_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, start, end-start, unix.MADV_DONTFORK)
	}
	ownMemory.pages = pages
	return nil
}

// shareThread has a process that this thread clones next know of it what the C library does:
// the kernel writes there on which processor it runs (rseq(2)). ownMemory must be held for
// reading until it is cloned.
func shareThread() error {
	page := uintptr(os.Getpagesize())
	at := threadPointer() &^ (page - 1)
	if at == 0 {
		return nil // without a C library
	}
	_, _, errno := unix.RawSyscall(unix.SYS_MADVISE, at-page, 3*page, unix.MADV_DOFORK)
	if errno != 0 && errno != unix.ENOMEM { // not all of that need be there
		return os.NewSyscallError("madvise", errno)
	}
	return nil
}

// ownPages is how many pages are this process's alone (proc_pid_statm(5)).
func ownPages() (int, error) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	var size, resident, shared int
	_, err = fmt.Sscan(string(text), &size, &resident, &shared)
	return resident - shared, err
}
