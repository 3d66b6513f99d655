package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"mcpgateway/tests/hostids"
	"mcpgateway/tests/procs"
	"mcpgateway/tests/traffic"
)

// serverName is the echo server's program, by which its processes are told from those
// of what is before it.
const serverName = "bench-echo"

// patience is how long something may take to start or to stop.
const patience = 30 * time.Second

// bed is all that runs while it is measured.
type bed struct {
	dir     string
	echo    string // the server's program
	direct  *program
	url     string // of direct
	gateway *gateway
	starter *starter
	peers   []*peerGateway
	stdio   *stdioServer
}

// newBed builds the server and starts everything. What has been started is stopped if
// the rest can't be.
func newBed(ctx context.Context, o options) (b *bed, err error) {
	b = &bed{}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.stop())
		}
	}()
	if b.dir, err = os.MkdirTemp("", "mcp-gateway-bench-"); err != nil {
		return b, err
	}
	if err := os.Chmod(b.dir, 0o755); err != nil { // sandboxes show what is in it
		return b, err
	}
	b.echo = filepath.Join(b.dir, "server", serverName)
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", b.echo, "mcpgateway/tests/echo")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return b, fmt.Errorf("build the server: %w: %s", err, out)
	}
	if b.direct, b.url, err = startHTTP(b.echo); err != nil {
		return b, err
	}
	if b.stdio, err = startStdio(b.echo); err != nil {
		return b, err
	}
	if err := buildTiny(ctx, filepath.Join(b.dir, "server", tinyName)); err != nil {
		return b, err
	}
	if b.gateway, err = startGateway(ctx, o.bin, filepath.Join(b.dir, "gateway"), b.echo, mostOwn+hostids.Ranges); err != nil {
		return b, err
	}
	if b.starter, err = startStarter(ctx, o.bin, b.dir, b.echo); err != nil {
		return b, err
	}
	if b.peers, err = startPeers(ctx, o, b.dir, b.echo); err != nil {
		return b, err
	}
	return b, nil
}

func (b *bed) stop() error {
	var errs []error
	for _, p := range b.peers {
		errs = append(errs, p.stop())
	}
	if b.starter != nil {
		errs = append(errs, b.starter.stop())
	}
	if b.gateway != nil {
		errs = append(errs, b.gateway.stop())
	}
	if b.stdio != nil {
		errs = append(errs, b.stdio.stop())
	}
	if b.direct != nil {
		errs = append(errs, b.direct.stop())
	}
	if b.dir != "" {
		errs = append(errs, os.RemoveAll(b.dir))
	}
	return errors.Join(errs...)
}

// line is one of the table's: what is called, how, and by how many.
type line struct {
	System    string  `json:"system"`
	Transport string  `json:"transport"`
	Era       string  `json:"era,omitempty"`
	Instances string  `json:"instances,omitempty"`
	Sessions  int     `json:"sessions"`
	Rate      float64 `json:"rate,omitempty"` // 0: closed loop

	root int // process that all of the system is below
	open func(i int) (traffic.Session, error)
}

const (
	direct  = "direct"
	ours    = "gateway"
	shared  = "shared"
	own     = "per-session"
	mostOwn = 64 // instances of their own at a time
)

// lines are those that are measured in each run, in the order of the table.
func (b *bed) lines(o options) []line {
	var all []line
	add := func(l line) {
		for _, n := range o.sessions {
			if l.Instances != own || n <= mostOwn {
				l.Sessions = n
				all = append(all, l)
			}
		}
	}
	add(line{System: direct, Transport: "stdio", root: b.stdio.pid(), open: b.stdio.open})
	add(b.directHTTP())
	for _, transport := range o.transports {
		for _, era := range o.eras {
			add(b.gateway.line(transport, era, shared))
		}
	}
	for _, era := range o.eras {
		if era == traffic.Handshake { // the other one has no sessions
			add(b.gateway.line("http", era, own))
		}
	}
	for _, p := range b.peers {
		add(p.line())
	}
	if o.rate > 0 {
		for _, l := range []line{b.directHTTP(), b.gateway.line("http", o.eras[len(o.eras)-1], shared)} {
			l.Sessions, l.Rate = 16, o.rate
			all = append(all, l)
		}
	}
	return all
}

func (b *bed) directHTTP() line {
	return line{System: direct, Transport: "http", root: b.direct.pid(), open: func(int) (traffic.Session, error) {
		return traffic.HTTP(b.url, "", traffic.Stateless)
	}}
}

// run measures everything once.
func (b *bed) run(ctx context.Context, o options, lines []line) (run, error) {
	var r run
	for _, l := range lines {
		f, err := measure(ctx, o, l)
		if err != nil {
			return r, fmt.Errorf("%s: %w", l.label(), err)
		}
		r.figures = append(r.figures, f)
	}
	var err error
	r.starts, err = b.starter.measure(ctx, o.starts, b.gateway)
	return r, err
}

// measure opens a line's sessions, uses them and closes them.
func measure(ctx context.Context, o options, l line) (f figures, err error) {
	before, err := look(l.root)
	if err != nil {
		return f, err
	}
	var next int
	sessions, err := traffic.Open(l.Sessions, func() (traffic.Session, error) {
		next++
		return l.open(next - 1)
	})
	if err != nil {
		return f, err
	}
	defer sync.OnceFunc(func() { err = errors.Join(err, traffic.Close(sessions)) })()
	if _, err := traffic.Run(ctx, sessions, traffic.Plan{Duration: o.duration / 5, Rate: l.Rate}); err != nil { // warm up
		return f, err
	}
	opened, err := look(l.root)
	if err != nil {
		return f, err
	}
	generator, err := selfCPU()
	if err != nil {
		return f, err
	}
	result, err := traffic.Run(ctx, sessions, traffic.Plan{Duration: o.duration, Rate: l.Rate})
	if err != nil {
		return f, err
	}
	after, err := look(l.root)
	if err != nil {
		return f, err
	}
	now, err := selfCPU()
	if err != nil {
		return f, err
	}
	calls := float64(result.Latency.Count())
	micros := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	f = figures{
		Calls: calls, PerSecond: result.PerSecond(),
		P50: micros(result.Latency.Percentile(50)), P95: micros(result.Latency.Percentile(95)), P99: micros(result.Latency.Percentile(99)),
		GatewayCPU:   micros(procs.CPU(opened.processes, after.processes, isGateway)) / calls,
		ServerCPU:    micros(procs.CPU(opened.processes, after.processes, isServer)) / calls,
		GeneratorCPU: micros(now-generator) / calls,
		GatewayRSS:   after.gateway.RSS, ProxyRSS: after.proxy.RSS,
		SessionPSS: float64(after.gateway.PSS-before.gateway.PSS) / float64(l.Sessions),
	}
	if after.instances > 0 {
		f.InstancePSS = float64(after.instance.PSS) / float64(after.instances)
	}
	return f, nil
}

// usage is what a system's processes are and occupy at one moment.
type usage struct {
	processes                []procs.Process
	gateway, proxy, instance procs.Memory
	instances                int
}

func look(root int) (u usage, err error) {
	if u.processes, err = procs.Tree(root); err != nil {
		return u, err
	}
	for _, p := range u.processes {
		if isServer(p) {
			u.instances++
		}
	}
	for into, counted := range map[*procs.Memory]func(procs.Process) bool{
		&u.gateway: isGateway, &u.proxy: isProxy, &u.instance: isInstance,
	} {
		if *into, err = procs.MemoryOf(u.processes, counted); err != nil {
			return u, err
		}
	}
	return u, nil
}

// Names of processes are cut after 15 bytes.
const launcherName, proxyName = "mcp-gateway-lau", "mcp-gateway-pro"

func isServer(p procs.Process) bool   { return p.Name == serverName || p.Name == tinyName }
func isLauncher(p procs.Process) bool { return p.Name == launcherName }
func isInstance(p procs.Process) bool { return isServer(p) || isLauncher(p) }
func isGateway(p procs.Process) bool  { return !isInstance(p) }
func isProxy(p procs.Process) bool    { return p.Name == proxyName }
