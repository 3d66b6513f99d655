//go:build !amd64

package main

import "golang.org/x/sys/unix"

// There is no 32-bit interface to try, nor an open(2).
func i386Call(string) error { return unix.ENOSYS }

func openCall(_, _ uintptr) error { return unix.EPERM }
