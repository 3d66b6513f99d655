package backend

import (
	"fmt"
	"sync"
	"time"

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

// describe is a sentence for the callers of a server that has ended.
func describe(e control.Exit) string {
	lived := e.Lived.Round(time.Millisecond)
	switch {
	case e.OOM:
		return fmt.Sprintf("server %q was ended for using more than its memory limit of %d MB", e.Server, e.MemoryLimitMB)
	case e.Stopped:
		return fmt.Sprintf("server %q was stopped", e.Server)
	case e.Status > 128:
		return fmt.Sprintf("server %q was ended by signal %d after %s", e.Server, e.Status-128, lived)
	default:
		return fmt.Sprintf("server %q exited with status %d after %s", e.Server, e.Status, lived)
	}
}
