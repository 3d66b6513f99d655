package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	notify "github.com/coreos/go-systemd/v22/daemon"

	"mcpgateway/runtime/daemon"
)

// statusEvery is how often the status is told where no watchdog waits.
const statusEvery = 30 * time.Second

// How a reload has ended.
const (
	inForce = "the configuration is in force"
	refused = "the new configuration was refused, and the old one stays in force"
)

// manager tells the service manager how the daemon is (sd_notify(3)).
type manager struct {
	refused atomic.Bool // the configuration as it was last read
}

// reloading tells that a reload has begun. What it returns tells of the outcome.
func (m *manager) reloading() func(error) {
	tell(notify.SdNotifyReloading + "\n" + notify.SdNotifyMonotonicUsec())
	return func(err error) {
		m.refused.Store(err != nil)
		tell(notify.SdNotifyReady + "\nSTATUS=" + m.outcome())
	}
}

func (m *manager) outcome() string {
	if m.refused.Load() {
		return refused
	}
	return inForce
}

// watch tells what the daemon does, and that it works, twice in the time that the service
// manager waits for that, until ctx ends. A daemon that is stuck says nothing.
func (m *manager) watch(ctx context.Context, d *daemon.Daemon) {
	patience, _ := notify.SdWatchdogEnabled(false) // an error is none that waits
	beat := time.NewTicker(cmp.Or(patience/2, statusEvery))
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
		case <-ctx.Done():
			return
		}
		servers, instances := d.Status()
		tell(fmt.Sprintf("%s\nSTATUS=%s: %d servers, %d instances", notify.SdNotifyWatchdog, m.outcome(), servers, instances))
	}
}

// tell tells the service manager, if there is one.
func tell(state string) {
	if _, err := notify.SdNotify(false, state); err != nil {
		slog.Warn("service manager not notified", "err", err)
	}
}
