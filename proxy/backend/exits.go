package backend

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/runtime/control"
)

// exits brings the daemon's notices of exits to the instances they are about. A
// notice can come before the answer to the open that it belongs to was looked
// at: such ones are kept, a bounded number of them.
type exits struct {
	mu      sync.Mutex
	waiting map[string]chan control.Exit
	early   []control.Exit // the oldest first
}

// expect returns the channel that gets the exit of a sandbox.
func (e *exits) expect(sandbox string) <-chan control.Exit {
	notice := make(chan control.Exit, 1)
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, exit := range e.early {
		if exit.Sandbox == sandbox {
			e.early = append(e.early[:i], e.early[i+1:]...)
			notice <- exit
			return notice
		}
	}
	if e.waiting == nil {
		e.waiting = map[string]chan control.Exit{}
	}
	e.waiting[sandbox] = notice
	return notice
}

func (e *exits) deliver(exit control.Exit) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if notice, ok := e.waiting[exit.Sandbox]; ok {
		delete(e.waiting, exit.Sandbox)
		notice <- exit
		return
	}
	if len(e.early) == maxEarlyExits {
		e.early = e.early[1:]
	}
	e.early = append(e.early, exit)
}

func (e *exits) forget(sandbox string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.waiting, sandbox)
}

// describe is a sentence for the callers of a server that has ended. It names the
// limit that ended the server, and its value.
func describe(e control.Exit) string {
	text := fmt.Sprintf("server %q %s", e.Server, ending(e))
	if e.PIDLimit > 0 && !e.Stopped {
		text += fmt.Sprintf("; it had reached its limit of %d processes and threads", e.PIDLimit)
	}
	return text
}

func ending(e control.Exit) string {
	signal := unix.Signal(e.Signal)
	lived := e.Lived.Round(time.Millisecond)
	switch {
	case e.OOM && e.MemoryLimit == 0:
		return "was ended: the host was out of memory"
	case e.OOM && e.Project != "":
		return fmt.Sprintf("was ended: its project %q reached its memory limit of %s", e.Project, size(e.MemoryLimit))
	case e.OOM:
		return fmt.Sprintf("was ended: it reached its memory limit of %s", size(e.MemoryLimit))
	case e.TimeLimit > 0:
		return fmt.Sprintf("was ended: it ran for longer than its profile allows (time.run = %s)", e.TimeLimit)
	case e.Stopped:
		return "was stopped"
	case signal == unix.SIGSYS:
		return "was ended: it made a system call that its profile does not allow (SIGSYS)"
	case e.CPULimit > 0:
		return fmt.Sprintf("was ended: it used more CPU time than its profile allows (time.cpu = %s)", e.CPULimit)
	case e.FileLimit > 0:
		return fmt.Sprintf("was ended: it wrote a larger file than its profile allows (rlimits.fsize = %s)", size(e.FileLimit))
	case signal > 0:
		return fmt.Sprintf("was ended by signal %s after %s", signalName(signal), lived)
	default:
		return fmt.Sprintf("exited with status %d after %s", e.Status, lived)
	}
}

func signalName(signal unix.Signal) string {
	if name := unix.SignalName(signal); name != "" {
		return fmt.Sprintf("%d (%s)", signal, name)
	}
	return strconv.Itoa(int(signal))
}

func size(bytes int64) string {
	if bytes%(1<<20) != 0 {
		return fmt.Sprintf("%d bytes", bytes)
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}
