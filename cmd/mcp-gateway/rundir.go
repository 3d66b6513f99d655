package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// sweep removes the run-time folders below parent of gateways that were killed.
func sweep(parent string) error {
	folders, err := filepath.Glob(filepath.Join(parent, upFolder+"*"))
	if err != nil {
		return err
	}
	for _, folder := range folders {
		// One that is about to start has no lock yet; a daemon may outlive its up for a while.
		if exists(filepath.Join(folder, upLock)) && !locked(folder, upLock) && !locked(folder, "daemon.lock") {
			if err := os.RemoveAll(folder); err != nil {
				return fmt.Errorf("remove what a killed gateway left: %w", err)
			}
		}
	}
	return nil
}

// upFolder begins the name of a run-time folder.
const upFolder = "mcp-gateway-up-"

// upLock is held by who made a run-time folder, for as long as it lives.
const upLock = "up.lock"

// locked reports whether a process holds a lock.
func locked(folder, name string) bool {
	lock, err := os.OpenFile(filepath.Join(folder, name), unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer lock.Close()
	return unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
}

// holdFolder takes the lock of the run-time folder.
func (g *gateway) holdFolder() (err error) {
	path := filepath.Join(g.dir, upLock)
	g.lock, err = os.OpenFile(path+".new", unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err == nil {
		err = unix.Flock(int(g.lock.Fd()), unix.LOCK_EX)
	}
	if err == nil {
		err = os.Rename(path+".new", path) // nobody sees it without its lock
	}
	if err != nil {
		return fmt.Errorf("lock run-time folder: %w", err)
	}
	return nil
}
