package daemon

import (
	"sync"
	"testing"
	"time"
)

// Status says nothing while somebody holds what requests wait for: a daemon that is stuck
// does not tell the service manager that it works.
func TestStatusOfAStuckDaemon(t *testing.T) {
	t.Parallel()
	for name, lock := range map[string]func(*Daemon) *sync.Mutex{
		"peers":     func(d *Daemon) *sync.Mutex { return &d.mu },
		"instances": func(d *Daemon) *sync.Mutex { return &d.supervisor.mu },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &Daemon{supervisor: newSupervisor(nil, nil, 0)}
			d.supervisor.instances["a-1"] = &instance{}
			d.current.Store(&generation{revisions: map[string]string{"a": "1", "b": "2"}})
			held := lock(d)
			held.Lock()
			said := make(chan [2]int)
			go func() { servers, instances := d.Status(); said <- [2]int{servers, instances} }()
			select {
			case <-said:
				t.Error("it says that it works")
			case <-time.After(50 * time.Millisecond):
			}
			held.Unlock()
			if got := <-said; got != [2]int{2, 1} {
				t.Errorf("got %v", got)
			}
		})
	}
}
