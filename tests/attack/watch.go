package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// watch UID becomes that user of the host and, until its standard input ends,
// goes for every process of the same user that comes: it reads and traces it. It
// prints which it meets, and what works.
func watch(a []string) error {
	var uid int
	if _, err := fmt.Sscan(a[0], &uid); err != nil {
		return err
	}
	if err := unix.Setresgid(uid, uid, uid); err != nil {
		return err
	}
	if err := unix.Setresuid(uid, uid, uid); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { _, _ = os.Stdin.Read(make([]byte, 1)); close(ended) }()
	fmt.Println("ready")
	met, won := map[int]bool{}, map[string]bool{}
	for oldest := os.Getpid(); ; {
		select {
		case <-ended:
			return nil
		default:
		}
		newest, err := newestProcess()
		if err != nil {
			return err
		}
		for pid := max(oldest, newest-100); pid <= newest+5; pid++ {
			// Its own threads have numbers too.
			if group, user := owner(pid); user == uid && group != os.Getpid() {
				for _, what := range takes(pid) {
					if !won[what] {
						won[what] = true
						fmt.Println("takes", what)
					}
				}
				if !met[pid] {
					met[pid] = true
					fmt.Println("meets", pid)
				}
			}
		}
	}
}

// newestProcess returns the number that was given last (proc_loadavg(5)).
func newestProcess() (pid int, err error) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	return strconv.Atoi(fields[len(fields)-1])
}

// owner returns the process that a thread belongs to, and its effective uid.
func owner(thread int) (pid, uid int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread))
	if err != nil {
		return 0, 0
	}
	_, rest, _ := strings.Cut(string(text), "\nTgid:")
	_, _ = fmt.Sscan(rest, &pid)
	var real int
	_, rest, _ = strings.Cut(rest, "\nUid:")
	_, _ = fmt.Sscan(rest, &real, &uid)
	return pid, uid
}

// takes returns what a process gives away.
func takes(pid int) (what []string) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	for _, name := range []string{"mem", "environ", "maps", "auxv", "stack", "ns/mnt"} {
		if fd, err := unix.Open(dir+name, unix.O_RDONLY, 0); err == nil {
			// Some are refused only when they are read.
			if n, err := unix.Read(fd, make([]byte, 1)); name == "mem" || err == nil && n > 0 {
				what = append(what, name)
			}
			unix.Close(fd)
		}
	}
	for _, name := range []string{"root", "exe", "cwd"} {
		if _, err := os.Readlink(dir + name); err == nil {
			what = append(what, name)
		}
	}
	// Whoever has its uid may see which descriptors there are, but not of what.
	if descriptors, err := os.ReadDir(dir + "fd"); err == nil && len(descriptors) > 0 {
		if _, err := os.Readlink(dir + "fd/" + descriptors[0].Name()); err == nil {
			what = append(what, "fd")
		}
	}
	if call(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0) == nil {
		what = append(what, "ptrace")
	}
	if fd, err := unix.PidfdOpen(pid, 0); err == nil {
		if got, err := unix.PidfdGetfd(fd, 0, 0); err == nil {
			unix.Close(got)
			what = append(what, "pidfd_getfd")
		}
		unix.Close(fd)
	}
	return what
}
