package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// dropPrivileges refuses to run with any privilege, and gives up the means to
// get one: the proxy reads whatever clients and servers send.
func dropPrivileges() error {
	if os.Getuid() == 0 || os.Geteuid() == 0 {
		return errors.New("the proxy must not run as root: use its own user, such as mcp-gateway")
	}
	if err := refuseCapabilities(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	// No other process of this user reads API keys out of this one's memory.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make the process undumpable: %w", err)
	}
	// Nor does the kernel write it down.
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("turn core dumps off: %w", err)
	}
	return raiseDescriptorLimit()
}

func refuseCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // of 32 capabilities each (capget(2))
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("read the process's capabilities: %w", err)
	}
	for i, set := range sets {
		// Inheritable ones alone are of no use without new privileges.
		if held := set.Effective | set.Permitted; held != 0 {
			return fmt.Errorf("the proxy must not hold capabilities: it has %#x in word %d", held, i)
		}
	}
	return nil
}

// raiseDescriptorLimit makes room for clients: each connection is a descriptor.
func raiseDescriptorLimit() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raise the limit of open files to %d: %w", limit.Max, err)
	}
	return nil
}
