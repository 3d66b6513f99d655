package main

import (
	"context"
	"slices"
	"time"

	"mcpgateway/runtime/config"
	"mcpgateway/runtime/control"
)

const (
	startPeriod = 500 * time.Millisecond // between two looks at what has started
	startWait   = 300 * time.Millisecond // for the daemon's answer
)

// starting tells whoever looks which of the eager servers have started.
type starting struct {
	progress *progress
	state    string
	eager    []string
	began    time.Time
	ticks    <-chan time.Time // nil: nobody looks
	ticker   *time.Ticker
}

func (g *gateway) watchStart() *starting {
	s := &starting{progress: newProgress(g.options.problems, "starting", 0), state: g.state, eager: g.eager, began: time.Now()}
	if s.progress.watched() {
		s.ticker = time.NewTicker(startPeriod)
		s.ticks = s.ticker.C
	}
	return s
}

func (s *starting) stop() {
	if s.ticker != nil {
		s.ticker.Stop()
	}
	s.progress.end()
}

// say asks the daemon what runs. One that does not answer yet is asked again.
func (s *starting) say(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	list, _ := listSandboxes(ctx, s.state)
	s.progress.say("%d of %d eager servers run (%s)", started(s.eager, list), len(s.eager), time.Since(s.began).Round(time.Second))
}

// started counts those of servers that have a sandbox.
func started(servers []string, list []control.Sandbox) (n int) {
	for _, name := range servers {
		if slices.ContainsFunc(list, func(s control.Sandbox) bool { return s.Server == name }) {
			n++
		}
	}
	return n
}

// eagerServers are the servers that start with the gateway.
func eagerServers(cfg *config.Config) (names []string) {
	for _, name := range serverNames(cfg) {
		if s := cfg.Servers[name]; s.Enabled && s.Eager {
			names = append(names, name)
		}
	}
	return names
}
