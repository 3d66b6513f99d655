package main

import (
	"context"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/proxy/socket"
)

// processors fits the number of processors that Go uses (GOMAXPROCS) to the load. For each
// message that comes while one of them has nothing to do, Go wakes a thread that looks for
// work and mostly finds none, which costs a third of a call. One processor forwards some
// 20,000 calls a second; on a host where no more is to be had, more of them only cost more.
// One alone stays awake for a moment before it sleeps (socket.Poller).
type processors struct {
	poller       *socket.Poller // nil: it is not known, and what is used sleeps at once
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

// newProcessors must be called before the process has an epoll instance of its own.
func newProcessors() *processors {
	p := &processors{most: runtime.GOMAXPROCS(0), used: 1} // as many as the host has, or as a control group may use
	var err error
	if p.poller, err = socket.FindPoller(); err != nil {
		slog.Debug("a processor with nothing to do sleeps at once", "err", err)
	}
	return p
}

// run runs until ctx ends. It leaves alone what the environment says.
func (p *processors) run(ctx context.Context, tick time.Duration) error {
	if os.Getenv("GOMAXPROCS") != "" || p.most == 1 {
		<-ctx.Done()
		return nil
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	stop := p.use(ctx)
	defer func() { stop() }()
	then, spent := time.Now(), workTime()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now, total := time.Now(), workTime()
		if p.fit(float64(total-spent) / float64(now.Sub(then))) {
			stop()
			stop = p.use(ctx)
		}
		then, spent = now, total
	}
}

// use has Go use so many, until stop is called.
func (p *processors) use(ctx context.Context) (stop func()) {
	runtime.GOMAXPROCS(p.used)
	if p.used > 1 || p.poller == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var polling sync.WaitGroup
	polling.Go(func() { p.poller.BusyPoll(ctx) })
	return func() {
		cancel()
		polling.Wait()
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

// workTime is what this process has spent (clock_gettime(2)), all threads together, but for
// what it was only awake.
func workTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t) // fails for clocks that don't exist
	return time.Duration(t.Nano()) - socket.BusyTime()
}
