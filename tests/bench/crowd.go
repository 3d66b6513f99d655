package main

import (
	"context"
	"fmt"
	"time"

	"mcpgateway/tests/procs"
	"mcpgateway/tests/traffic"
)

// crowd is many who have made a call and do nothing: clients of the stateless era, who
// keep their connections, and sessions of the other, whose clients are not connected at
// the moment. RSS is the proxy's.
type crowd struct {
	Clients    int   `json:"clients"`
	Sessions   int   `json:"sessions"`
	RSSBefore  int64 `json:"rss_before"`
	RSSClients int64 `json:"rss_clients"` // with the clients, as soon as the last has its answer
	RSSAtOnce  int64 `json:"rss_at_once"` // with the sessions, too
	RSS        int64 `json:"rss"`         // when nobody has done anything for rest
	Streams    int   `json:"streams"`     // of sessions more, each with a stream
	RSSStreams int64 `json:"rss_streams"`
}

// rest is how long a crowd does nothing before it is called idle.
const rest = 15 * time.Second

// mostStreams is below how many requests one caller may have under way.
const mostStreams = 500

// crowd opens one, and tells full when all of it is there.
func (g *gateway) crowd(ctx context.Context, n int, full func() error) (c crowd, err error) {
	if c.RSSBefore, err = g.idle(); err != nil {
		return c, err
	}
	kept := make([]traffic.Session, n+mostStreams)
	defer leave(kept)
	err = inParallel(ctx, n, func(i int) (err error) {
		kept[i], err = g.open("http", traffic.Stateless, sharedServer)
		return err
	})
	if err != nil {
		return c, fmt.Errorf("clients: %w", err)
	}
	if c.RSSClients, err = g.rss(); err != nil {
		return c, err
	}
	err = inParallel(ctx, n, func(int) error {
		session, err := g.open("http", traffic.Handshake, sharedServer)
		if err != nil {
			return err
		}
		return traffic.Leave(session)
	})
	if err != nil {
		return c, fmt.Errorf("sessions: %w", err)
	}
	if c.RSSAtOnce, err = g.rss(); err != nil {
		return c, err
	}
	select {
	case <-time.After(rest):
	case <-ctx.Done():
		return c, ctx.Err()
	}
	if c.RSS, err = g.rss(); err != nil {
		return c, err
	}
	if err := full(); err != nil {
		return c, err
	}
	err = inParallel(ctx, mostStreams, func(i int) (err error) {
		if kept[n+i], err = g.open("http", traffic.Handshake, sharedServer); err != nil {
			return err
		}
		return traffic.Listen(kept[n+i])
	})
	if err != nil {
		return c, fmt.Errorf("streams: %w", err)
	}
	c.Clients, c.Sessions, c.Streams = n, n, mostStreams
	c.RSSStreams, err = g.rss()
	return c, err
}

// leave closes connections to a gateway that is about to end.
func leave(sessions []traffic.Session) {
	for _, s := range sessions {
		if s != nil {
			_ = traffic.Leave(s)
		}
	}
}

// tiny is many servers of the least size, each in a sandbox for a session of its own.
type tiny struct {
	Servers  int     `json:"servers"`
	Seconds  float64 `json:"seconds"`  // until each has answered a call
	Launcher float64 `json:"launcher"` // bytes of each that no other process has
	Daemon   float64 `json:"daemon"`   // bytes that it grew by for each
	Proxy    float64 `json:"proxy"`
	Server   float64 `json:"server"` // bytes of each that no other process has
}

// overhead is what a sandbox costs beside its server.
func (t tiny) overhead() float64 { return t.Launcher + t.Daemon + t.Proxy }

func (g *gateway) tiny(ctx context.Context, n int) (t tiny, err error) {
	if _, err := g.idle(); err != nil {
		return t, err
	}
	before, err := g.parts()
	if err != nil {
		return t, err
	}
	sessions := make([]traffic.Session, n)
	defer leave(sessions)
	begun := time.Now()
	err = inParallel(ctx, n, func(i int) (err error) {
		sessions[i], err = g.open("http", traffic.Handshake, tinyServer)
		return err
	})
	if err != nil {
		return t, err
	}
	t.Servers, t.Seconds = n, time.Since(begun).Seconds()
	after, err := g.parts()
	if err != nil {
		return t, err
	}
	if after.servers-before.servers != n {
		return t, fmt.Errorf("%d servers run for %d sessions", after.servers-before.servers, n)
	}
	each := func(of func(parts) int64) float64 { return float64(of(after)-of(before)) / float64(n) }
	t.Launcher, t.Server = each(func(p parts) int64 { return p.launcher.Private }), each(func(p parts) int64 { return p.server.Private })
	t.Daemon, t.Proxy = each(func(p parts) int64 { return p.daemon.PSS }), each(func(p parts) int64 { return p.proxy.PSS })
	return t, nil
}

// parts are what the processes of a gateway occupy, by what they are.
type parts struct {
	launcher, server, daemon, proxy procs.Memory
	servers                         int
}

func (g *gateway) parts() (p parts, err error) {
	tree, err := procs.Tree(g.pid())
	if err != nil {
		return p, err
	}
	for _, process := range tree {
		if isServer(process) {
			p.servers++
		}
	}
	for into, counted := range map[*procs.Memory]func(procs.Process) bool{
		&p.launcher: isLauncher, &p.server: isServer, &p.proxy: isProxy,
		&p.daemon: func(p procs.Process) bool { return isGateway(p) && !isProxy(p) },
	} {
		if *into, err = procs.MemoryOf(tree, counted); err != nil {
			return p, err
		}
	}
	return p, nil
}
