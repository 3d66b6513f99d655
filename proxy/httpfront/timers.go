package httpfront

import (
	"sync"
	"time"
)

// timers are those that are used again: each answer waits by one, and few wait long.
type timers struct{ idle sync.Pool }

func (t *timers) get(d time.Duration) *time.Timer {
	if timer, ok := t.idle.Get().(*time.Timer); ok {
		timer.Reset(d)
		return timer
	}
	return time.NewTimer(d)
}

// put takes back a timer that nobody waits by any more.
func (t *timers) put(timer *time.Timer) {
	timer.Stop()
	t.idle.Put(timer)
}
