package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kill PID SIGNAL
func kill(a []string) error {
	pid, err := strconv.Atoi(a[0])
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(a[1])
	if err != nil {
		return err
	}
	return unix.Kill(pid, syscall.Signal(number))
}

func killPidfd(a []string) error {
	pid, err := strconv.Atoi(a[0])
	if err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	return unix.PidfdSendSignal(fd, 0, nil, 0)
}

// killAll kills whatever it can but itself, process 1 too.
func killAll([]string) error {
	for _, signal := range []syscall.Signal{unix.SIGSTOP, unix.SIGKILL} {
		fmt.Println(verdict(unix.Kill(-1, signal)), verdict(unix.Kill(1, signal)))
	}
	return nil
}

// signalInit sends every signal to process 1, those that it passes on too, and
// tells that it is still there.
func signalInit([]string) error {
	// Those that come back are taken, and forgotten.
	signal.Notify(make(chan os.Signal, 128))
	for number := range 65 {
		if err := unix.Kill(1, syscall.Signal(number)); err != nil {
			fmt.Println(number, verdict(err))
		}
	}
	// A process whose parent has gone is process 1's to reap.
	orphan := exec.Command("/bin/sh", "-c", "sleep 0.1 & echo $!")
	out, err := orphan.Output()
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		return err
	}
	for unix.Kill(pid, 0) == nil {
		runtime.Gosched()
	}
	fmt.Println("reaped")
	return nil
}

func traceChild([]string) error {
	cmd := exec.Command("/proc/self/exe", "sleep")
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { _ = cmd.Process.Kill() }()
	return call(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(cmd.Process.Pid), 0)
}

func processVMWritev([]string) error {
	buffer := make([]byte, 1)
	local := []unix.Iovec{{Base: &buffer[0], Len: 1}}
	remote := []unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(&buffer[0])), Len: 1}}
	return ignoring(unix.ProcessVMWritev(os.Getpid(), local, remote, 0))
}

func kcmp([]string) error {
	_, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(os.Getpid()), uintptr(os.Getppid()), 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func pidfdGetfd([]string) error {
	fd, err := unix.PidfdOpen(os.Getppid(), 0)
	if err != nil {
		return err
	}
	return closing(unix.PidfdGetfd(fd, 1, 0))
}

func processMadvise([]string) error {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return err
	}
	memory, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	vector := unix.Iovec{Base: &memory[0], Len: 4096}
	_, _, errno := unix.Syscall6(unix.SYS_PROCESS_MADVISE, uintptr(fd), uintptr(unsafe.Pointer(&vector)), 1, unix.MADV_COLD, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func realTime([]string) error {
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}
	return unix.SchedSetAttr(0, &attr, 0)
}

// allCapabilities takes every one that a process of the host's root has.
func allCapabilities([]string) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	// Not CAP_SYS_RESOURCE: a root that is itself confined may lack it.
	all := [2]unix.CapUserData{{Effective: 0xfeffffff, Permitted: 0xfeffffff}}
	return unix.Capset(&header, &all[0])
}

func requestKey([]string) error {
	return ignoring(unix.RequestKey("user", "attack", "", 0))
}

// readKey reads the description of the user keyring, which all of a uid share.
func readKey([]string) error {
	_, err := unix.KeyctlString(unix.KEYCTL_DESCRIBE, unix.KEY_SPEC_USER_KEYRING)
	return err
}

func kernelLog([]string) error {
	const sizeOfBuffer = 10
	return ignoring(unix.Klogctl(sizeOfBuffer, nil))
}

// setClock sets it to what it is.
func setClock([]string) error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		return err
	}
	return unix.ClockSettime(unix.CLOCK_REALTIME, &now)
}

// typeIntoTerminal types into the terminal that is its standard input.
func typeIntoTerminal([]string) error {
	for _, char := range []byte("attack\n") {
		if err := call(unix.SYS_IOCTL, 0, unix.TIOCSTI, uintptr(unsafe.Pointer(&char))); err != nil {
			return err
		}
	}
	return nil
}

// see WHAT prints which processes /proc lists (listed), which take signals
// (signalled), or what this process may do (rights).
func see(a []string) error {
	switch a[0] {
	case "listed":
		entries, err := os.ReadDir("/proc")
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if _, err := strconv.Atoi(entry.Name()); err == nil {
				command, err := os.ReadFile("/proc/" + entry.Name() + "/cmdline")
				fmt.Printf("%s %q %s\n", entry.Name(), command, verdict(err))
			}
		}
	case "signalled":
		for pid := 1; pid < 1<<16; pid++ {
			if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
				fmt.Println(pid, verdict(err))
			}
		}
	case "rights":
		text, err := os.ReadFile("/proc/self/status")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "Uid:") || strings.HasPrefix(line, "Gid:") || strings.HasPrefix(line, "CapPrm:") {
				fmt.Print(line)
			}
		}
	}
	return nil
}
