package main

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"mcpgateway/proxy"
)

// statusEvery is how often the status is told where no watchdog waits.
const statusEvery = 30 * time.Second

// service tells the service manager how the proxy is (sd_notify(3)). It does nothing
// where none listens.
type service struct {
	log *slog.Logger

	mu    sync.Mutex
	ready bool // it has been told
}

// announce tells when the gateway is ready, and from then on has what starts with the
// gateway be started again with each daemon.
func (s *service) announce(ctx context.Context, p *proxy.Proxy) error {
	if err := p.Start(ctx); err != nil {
		return err
	}
	s.log.Info("ready")
	s.shed()
	s.mu.Lock()
	s.ready = true
	s.mu.Unlock()
	s.tell(daemon.SdNotifyReady + "\nSTATUS=ready")
	return p.StartAgain(ctx)
}

// shed has memory go that only what was done just now needed.
func (s *service) shed() {
	debug.FreeOSMemory()
	s.leave()
}

// leave has pages of the program go that nothing needs at present: what is served changes.
func (s *service) leave() {
	if err := leavePages(); err != nil {
		s.log.Warn("pages of the program stay in memory that nobody needs", "err", err)
	}
}

func (s *service) isReady() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

// reloading puts a generation in force and tells that it does. The first is no reload.
func (s *service) reloading(apply func() error) error {
	if !s.isReady() {
		return apply()
	}
	s.tell(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	err := apply()
	s.shed()
	state := daemon.SdNotifyReady
	if err == nil {
		state += "\nSTATUS=ready"
	}
	s.tell(state)
	return err
}

// watch tells what the proxy does, and that it works, twice in the time that the service
// manager waits for that. A proxy that is stuck says nothing.
func (s *service) watch(ctx context.Context, p *proxy.Proxy) error {
	patience, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("watchdog: %w", err)
	}
	every := statusEvery
	if patience > 0 {
		every = patience / 2
	}
	beat := time.NewTicker(every)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
			s.beat(ctx, p, every)
			s.leave()
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *service) beat(parent context.Context, p *proxy.Proxy, wait time.Duration) {
	ctx, cancel := context.WithTimeout(parent, wait/4) // so that it is told in time, whatever the daemon does
	defer cancel()
	v, err := p.Alive(ctx)
	if err != nil {
		if parent.Err() == nil {
			s.log.Error("the proxy does not work, and the service manager is not told that it does", "err", err)
		}
		return
	}
	state := daemon.SdNotifyWatchdog
	switch {
	case !s.isReady():
	case v.NotReady != nil:
		state += "\nSTATUS=not ready: " + oneLine(v.NotReady.Error())
	default:
		state += fmt.Sprintf("\nSTATUS=ready: %d servers, %d instances, %d sessions", v.Servers, v.Instances, v.Sessions)
	}
	s.tell(state)
}

func (s *service) tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.log.Warn("service manager not notified", "err", err)
	}
}

// oneLine keeps a text from adding assignments of its own to a notification
// (sd_notify(3)).
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
