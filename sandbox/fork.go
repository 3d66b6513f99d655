package sandbox

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// program is what a new process does, call by call, instead of going on in Go: it has one
// thread, and nothing of Go's memory (keepBack). What the calls point to is made before, in
// memory that it has.
type program struct {
	calls  []action
	memory [][]byte
	free   []byte // of the last
	err    error  // there was none
}

// action is one system call. Its name stands in the error if it fails.
type action struct {
	name     string
	number   uintptr
	args     [6]uintptr
	exact    bool // its result must be want
	want     uintptr
	optional syscall.Errno // is no failure
}

func (p *program) add(name string, number uintptr, args ...uintptr) *action {
	c := action{name: name, number: number}
	copy(c.args[:], args)
	p.calls = append(p.calls, c)
	return &p.calls[len(p.calls)-1]
}

// returns makes any other result a failure.
func (c *action) returns(want uintptr) { c.exact, c.want = true, want }

// chunk is how much memory a program gets at a time.
const chunk = 64 << 10

// room is where so many bytes are, which are zero.
func (p *program) room(n uintptr) unsafe.Pointer {
	const align = 16
	n = max(align, (n+align-1)&^(align-1))
	if uintptr(len(p.free)) < n {
		memory, err := newMemory(int(max(n, chunk)))
		if err != nil {
			p.err, memory = err, make([]byte, max(n, chunk)) // start says so
		}
		p.memory, p.free = append(p.memory, memory), memory
	}
	at := unsafe.Pointer(&p.free[0])
	p.free = p.free[n:]
	return at
}

// end gives back the program's memory.
func (p *program) end() {
	for _, memory := range p.memory {
		_ = unix.Munmap(memory) // it was mapped as it is
	}
	p.memory, p.free = nil, nil
}

// text is where a C string with s is.
func (p *program) text(s string) uintptr {
	at := p.room(uintptr(len(s)) + 1)
	copy(unsafe.Slice((*byte)(at), len(s)), s)
	return uintptr(at)
}

// texts is where an array of C strings is, as execve(2) takes it.
func (p *program) texts(list []string) (uintptr, error) {
	at := p.room(uintptr(len(list)+1) * unsafe.Sizeof(uintptr(0)))
	pointers := unsafe.Slice((*uintptr)(at), len(list))
	for i, s := range list {
		if strings.ContainsRune(s, 0) {
			return 0, unix.EINVAL
		}
		pointers[i] = p.text(s)
	}
	return uintptr(at), nil
}

// place makes files the descriptors from 0 on, and leaves no other.
func (p *program) place(files []*os.File) {
	free := uintptr(len(files))
	for _, f := range files {
		free = max(free, f.Fd()+1)
	}
	for i, f := range files { // first out of the way of each other
		p.add("dup3", unix.SYS_DUP3, f.Fd(), free+uintptr(i), unix.O_CLOEXEC)
	}
	for i := range files {
		p.add("dup3", unix.SYS_DUP3, free+uintptr(i), uintptr(i), 0)
	}
	p.closeFrom(len(files))
}

func (p *program) closeFrom(first int) {
	p.add("close_range", unix.SYS_CLOSE_RANGE, uintptr(first), 1<<32-1, 0)
}

// reportSize is that of what a program that fails writes to descriptor 0: failed, the
// number of the call, the error.
const reportSize = 4

const failed = 1

// Words of struct clone_args (clone(2)).
const (
	cloneFlags      = 0
	cloneExitSignal = 4
	cloneCgroup     = 10
	cloneWords      = 11
)

// start makes a process in new namespaces that runs the program. It is a child of this
// thread, whose goroutine must be locked to it, and in the cgroup of version 2 that is
// open as cgroup, if it is not nil.
func (p *program) start(namespaces uint64, cgroup *os.File) (pid int, err error) {
	// The kernel takes the daemon's handlers from the child, which must not run Go.
	args := &[cloneWords]uint64{cloneFlags: namespaces | unix.CLONE_CLEAR_SIGHAND, cloneExitSignal: uint64(unix.SIGCHLD)}
	if cgroup != nil {
		args[cloneFlags] |= unix.CLONE_INTO_CGROUP
		args[cloneCgroup] = uint64(cgroup.Fd())
	}
	calls := unsafe.Slice((*action)(p.room(uintptr(len(p.calls)+1)*unsafe.Sizeof(action{}))), len(p.calls)+1)
	copy(calls, p.calls)
	report := (*[reportSize]byte)(p.room(reportSize))
	if p.err != nil {
		return 0, p.err
	}
	ownMemory.mu.RLock()
	defer ownMemory.mu.RUnlock()
	if err := shareThread(); err != nil {
		return 0, err
	}
	pid, errno := fork(args, &calls[0], &calls[len(p.calls)], report, &[2]uint64{^uint64(0)})
	if errno != 0 {
		return 0, os.NewSyscallError("clone3", errno)
	}
	return pid, nil
}

// fork makes a process that makes the calls from next to end. No signal may come to it
// before its handlers are gone.
//
//go:noinline
//go:norace
func fork(args *[cloneWords]uint64, next, end *action, report *[reportSize]byte, masks *[2]uint64) (int, syscall.Errno) {
	const size = unsafe.Sizeof(masks[0])
	_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&masks[0])), uintptr(unsafe.Pointer(&masks[1])), size, 0, 0)
	result := cloneRun(args, next, end, report)
	_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&masks[1])), 0, size, 0, 0)
	if errno := -int(result); errno > 0 && errno < 4096 {
		return 0, syscall.Errno(errno)
	}
	return int(result), 0
}

// threadPointer is where the C library has what it knows of this thread.
func threadPointer() uintptr

// cloneRun is clone3(2). It returns in the parent alone: the child makes the calls without
// a stack, which it does not have.
//
//go:noescape
func cloneRun(args *[cloneWords]uint64, next, end *action, report *[reportSize]byte) (result uintptr)

// failure is what a report says.
func (p *program) failure(report []byte) error {
	if len(report) != reportSize || int(report[1]) >= len(p.calls) {
		return fmt.Errorf("it says %q", report)
	}
	return os.NewSyscallError(p.calls[report[1]].name, syscall.Errno(binary.LittleEndian.Uint16(report[2:])))
}
