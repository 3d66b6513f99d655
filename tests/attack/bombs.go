package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// bomb KIND N [FOLDER] takes N of something, or as much as it gets: it prints how
// much that was, and why it got no more.
func bomb(a []string) error {
	n, err := strconv.Atoi(a[1])
	if err != nil {
		return err
	}
	take, ok := map[string]func() error{
		"memory":      takeMemory(),
		"memfd":       takeMemfd(),
		"pipes":       takePipe(),
		"sockets":     takeSocketBuffer,
		"shared":      takeShared(),
		"locked":      takeLocked,
		"files":       takeFile(a[2:]),
		"inodes":      takeInode(a[2:]),
		"descriptors": func() error { return ignoring(unix.Dup(0)) },
		"processes":   func() error { return exec.Command("/bin/sleep", "1000").Start() },
		"zombies":     takeZombie,
		"threads":     takeThread,
	}[a[0]]
	if !ok {
		return errors.New("there is no bomb " + a[0])
	}
	if a[0] == "descriptors" {
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 6000, Max: 6000})
	}
	taken := 0
	for ; taken < n && err == nil; taken++ {
		err = take()
	}
	if err != nil {
		taken--
	}
	fmt.Println(taken, verdict(err))
	return nil
}

const megabyte = 1 << 20

// Each of the next takes one megabyte, and keeps it.

func takeMemory() func() error {
	var kept [][]byte
	return func() error {
		memory, err := unix.Mmap(-1, 0, megabyte, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
		kept = append(kept, memory)
		return err
	}
}

func takeMemfd() func() error {
	fd, err := unix.MemfdCreate("bomb", 0)
	return func() error {
		if err != nil {
			return err
		}
		return ignoring(unix.Write(fd, make([]byte, megabyte)))
	}
}

// takePipe fills pipes as large as they get: the kernel gives each user 64 MiB of
// them, and small ones from then on.
func takePipe() func() error {
	return func() error {
		for left := megabyte; left > 0; {
			var ends [2]int
			if err := unix.Pipe2(ends[:], unix.O_NONBLOCK); err != nil {
				return err
			}
			_, _ = unix.FcntlInt(uintptr(ends[0]), unix.F_SETPIPE_SZ, megabyte)
			n, err := unix.Write(ends[1], make([]byte, megabyte))
			if err != nil {
				return err
			}
			left -= n
		}
		return nil
	}
}

func takeSocketBuffer() error {
	for left := megabyte; left > 0; {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		n, err := unix.Write(pair[0], make([]byte, megabyte))
		if err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// takeShared uses System V shared memory, which belongs to no process.
func takeShared() func() error {
	return func() error {
		id, err := unix.SysvShmGet(unix.IPC_PRIVATE, megabyte, 0o600)
		if err != nil {
			return err
		}
		memory, err := unix.SysvShmAttach(id, 0, 0)
		if err != nil {
			return err
		}
		for i := 0; i < len(memory); i += 4096 {
			memory[i] = 1
		}
		return nil
	}
}

func takeLocked() error {
	memory, err := unix.Mmap(-1, 0, megabyte, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	return unix.Mlock(memory)
}

func takeFile(a []string) func() error {
	if len(a) == 0 {
		return nil
	}
	file, err := os.Create(filepath.Join(a[0], "bomb"))
	return func() error {
		if err != nil {
			return err
		}
		return ignoring(file.Write(make([]byte, megabyte)))
	}
}

func takeInode(a []string) func() error {
	i := 0
	return func() error {
		i++
		return create([]string{filepath.Join(a[0], "bomb-"+strconv.Itoa(i))})
	}
}

// takeZombie starts a process that ends, and does not ask how.
func takeZombie() error {
	return exec.Command("/bin/true").Start()
}

// takeThread starts a thread that stays. Go can't do without one that it does not
// get, and ends.
func takeThread() error {
	started := make(chan struct{})
	go func() {
		close(started)
		_ = unix.Pause()
	}()
	<-started
	return nil
}

// sleep stays until it is killed.
func sleep([]string) error { return unix.Pause() }

// burn N keeps N processors busy until it is killed.
func burn(a []string) error {
	n, err := strconv.Atoi(a[0])
	if err != nil {
		return err
	}
	for range n {
		cmd := exec.Command("/bin/sh", "-c", "while :; do :; done")
		if err := cmd.Start(); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	return sleep(nil)
}

// latency N does N small pieces of work for each line of its standard input, as a
// busy server does, and prints how long one took in microseconds: the median, which
// pauses of the machine do not change, and the mean.
func latency(a []string) error {
	n, err := strconv.Atoi(a[0])
	if err != nil {
		return err
	}
	for {
		var line string
		if _, err := fmt.Scanln(&line); err != nil {
			return nil
		}
		took, all := make([]time.Duration, n), time.Now()
		for i := range took {
			started := time.Now()
			work()
			took[i] = time.Since(started)
		}
		mean := time.Since(all) / time.Duration(n)
		slices.Sort(took)
		fmt.Println(took[n/2].Microseconds(), mean.Microseconds())
	}
}

// work takes about two milliseconds of a processor.
func work() {
	sum := uint32(1)
	for range 4_000_000 {
		sum = sum*1664525 + 1013904223
	}
	if sum == 0 {
		panic("not with this start")
	}
}
