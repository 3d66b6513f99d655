package main

import (
	"context"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// processors fits the number of processors that Go uses (GOMAXPROCS) to the load. For each
// message that comes while one of them has nothing to do, Go wakes a thread that looks for
// work and mostly finds none, which costs a third of a call. One processor forwards some
// 20,000 calls a second; on a host where no more is to be had, more of them only cost more.
type processors struct {
	most, used   int
	busy, spared int // ticks, one after the other, in which more were wanted, or half would have done
}

const (
	processorTick = 100 * time.Millisecond
	busyShare     = 0.99 // of the time of all that are used, from which they are not enough
	busyTicks     = 5
	sparedShare   = 0.45 // below which half of them are enough
	sparedTicks   = 10
)

// fitProcessors runs until ctx ends. It leaves alone what the environment says.
func fitProcessors(ctx context.Context, tick time.Duration) error {
	p := processors{most: runtime.GOMAXPROCS(0), used: 1} // as many as the host has, or as a control group may use
	if os.Getenv("GOMAXPROCS") != "" || p.most == 1 {
		<-ctx.Done()
		return nil
	}
	runtime.GOMAXPROCS(p.used)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	then, spent := time.Now(), cpuTime()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now, total := time.Now(), cpuTime()
		if p.fit(float64(total-spent) / float64(now.Sub(then))) {
			runtime.GOMAXPROCS(p.used)
		}
		then, spent = now, total
	}
}

// fit takes a tick into account, in which this process had the time of so many processors,
// and reports whether another number is to be used from now on.
func (p *processors) fit(had float64) (other bool) {
	before := p.used
	p.busy, p.spared = p.busy+1, p.spared+1
	if had < busyShare*float64(p.used) {
		p.busy = 0
	}
	if had >= sparedShare*float64(p.used) {
		p.spared = 0
	}
	switch {
	case p.busy == busyTicks:
		p.used = min(2*p.used, p.most)
		p.busy = 0
	case p.spared == sparedTicks:
		p.used = max(p.used/2, 1)
		p.spared = 0
	}
	return p.used != before
}

// cpuTime is what this process has spent, all threads together (clock_gettime(2)).
func cpuTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t) // fails for clocks that don't exist
	return time.Duration(t.Nano())
}
