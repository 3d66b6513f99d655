package main

import "golang.org/x/sys/unix"

// getpid32 calls getpid by the 32-bit interface (int 0x80), number 20, and returns
// what the kernel answers.
func getpid32() int64

func i386Call(string) error {
	if answer := getpid32(); answer < 0 {
		return unix.Errno(-answer)
	}
	return nil
}

// openCall is open(2), which Go's own wrappers never use.
func openCall(path, mode uintptr) error {
	return call(unix.SYS_OPEN, path, unix.O_CREAT|unix.O_WRONLY, mode)
}
