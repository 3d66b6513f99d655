package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/runtime/control"
	"mcpgateway/runtime/peer"
	"mcpgateway/tests/hostids"
	"mcpgateway/tests/traffic"
)

// starts are how long it takes from the wish for a server to its first byte, in
// milliseconds; zero is not measured.
type starts struct {
	ForkExec float64 `json:"fork_exec_ms"`
	Bwrap    float64 `json:"bwrap_ms,omitempty"`
	Sandbox  float64 `json:"sandbox_ms"`      // by the daemon, with `prepared: 0`
	Prepared float64 `json:"prepared_ms"`     // the same with `prepared: 1`
	Warm     float64 `json:"warm_session_ms"` // a session's handshake and first call, with `warm: 1`
	Session  float64 `json:"cold_session_ms"` // the same with `warm: 0`
}

// Servers of the starter.
const (
	newServer      = "hello"
	preparedServer = "hello-again"
)

// starter is a daemon of its own, to which this process is the proxy.
type starter struct {
	*program
	release func()
	client  *peer.Client
	end     context.CancelFunc
	over    chan error
	echo    string
	log     bytes.Buffer // read after the end only
}

func startStarter(ctx context.Context, bin, dir, echo string) (*starter, error) {
	first, release, err := hostids.Claim()
	if err != nil {
		return nil, err
	}
	s := &starter{release: release, echo: echo}
	if err := s.start(ctx, bin, filepath.Join(dir, "starter"), first); err != nil {
		if s.program != nil {
			err = errors.Join(err, s.program.stop(), fmt.Errorf("the daemon's log: %s", s.log.String()))
		}
		release()
		return nil, err
	}
	return s, nil
}

func (s *starter) start(ctx context.Context, bin, dir string, firstID int) error {
	const text = `version: "1.0"
gateway: {name: starter, watch: false}
sandbox: {uid_pool: {start: %[1]d, count: %[2]d}}
transports: {http: {enabled: true}}
servers:
  %[5]s: {command: /srv/bench/%[3]s, args: [-hello], mounts: [%[4]q], prepared: 0}
  %[6]s: {command: /srv/bench/%[3]s, args: [-hello], mounts: [%[4]q], prepared: 1}
`
	nobody, err := user.Lookup(proxyUser)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(nobody.Uid)
	if err != nil {
		return err
	}
	config, runDir := filepath.Join(dir, "mcp-gateway.yaml"), filepath.Join(dir, "run")
	socket := filepath.Join(runDir, "control.sock")
	err = errors.Join(os.Mkdir(dir, 0o755), os.Mkdir(runDir, 0o755), os.Mkdir(filepath.Join(dir, "state"), 0o700),
		os.WriteFile(config, fmt.Appendf(nil, text, firstID, hostids.Ranges, serverName, filepath.Dir(s.echo)+":/srv/bench", newServer, preparedServer), 0o600))
	if err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(bin, "mcp-gatewayd"), "-config", config, "-state-dir", filepath.Join(dir, "state"),
		"-runtime-dir", runDir, "-listen", socket, "-proxy-user", proxyUser)
	cmd.Stderr = &s.log
	if s.program, err = startProgram(cmd); err != nil {
		return err
	}
	err = s.eventually(ctx, "the daemon listens", func() (bool, error) {
		var stat unix.Stat_t
		return unix.Lstat(socket, &stat) == nil && int(stat.Uid) == uid, nil // the socket is made as root's
	})
	if err != nil {
		return err
	}
	notices := peer.Notices{
		Policy: func(uint64, []byte) error { return nil },
		Exited: func(control.Exit) {},
	}
	hostids.As(uid, func() { s.client, err = peer.Dial(ctx, socket, notices) })
	if err != nil {
		return err
	}
	serving, end := context.WithCancel(context.Background())
	s.end, s.over = end, make(chan error, 1)
	go func() { s.over <- s.client.Run(serving) }()
	return nil
}

func (s *starter) stop() error {
	defer s.release()
	s.end()
	err := <-s.over
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, s.program.stop())
}

// measure takes turns, so that what else the host does weighs on all alike, and in another
// order each time: what one leaves for the kernel to take down weighs on the next.
func (s *starter) measure(ctx context.Context, n int, g *gateway) (starts, error) {
	var forks, bwraps, sandboxes, prepared, warm, cold []time.Duration
	type kind struct {
		into  *[]time.Duration
		start func() (time.Duration, error)
	}
	kinds := []kind{
		{&forks, func() (time.Duration, error) { return command(exec.CommandContext(ctx, s.echo, "-hello")) }},
		{&sandboxes, func() (time.Duration, error) { return s.open(ctx, newServer) }},
		{&prepared, func() (time.Duration, error) { return s.open(ctx, preparedServer) }},
		{&warm, func() (time.Duration, error) { return g.openSession(ctx, warmServer) }},
		{&cold, func() (time.Duration, error) { return g.openSession(ctx, ownServer) }},
	}
	if bwrap, err := exec.LookPath("bwrap"); err == nil {
		kinds = append(kinds, kind{&bwraps, func() (time.Duration, error) {
			return command(exec.CommandContext(ctx, bwrap, "--unshare-all", "--ro-bind", filepath.Dir(s.echo), "/srv", "--proc", "/proc", "--dev", "/dev", "/srv/"+serverName, "-hello"))
		}})
	}
	for range n {
		rand.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		for _, one := range kinds {
			took, err := one.start()
			if err != nil {
				return starts{}, fmt.Errorf("start: %w", err)
			}
			*one.into = append(*one.into, took)
		}
	}
	return starts{milliseconds(forks), milliseconds(bwraps), milliseconds(sandboxes), milliseconds(prepared), milliseconds(warm), milliseconds(cold)}, nil
}

// milliseconds is the median.
func milliseconds(took []time.Duration) float64 {
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return float64(took[len(took)/2]) / float64(time.Millisecond)
}

// command is the time until a command has said something.
func command(cmd *exec.Cmd) (time.Duration, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	_, err = out.Read(make([]byte, 1))
	took := time.Since(begun)
	in.Close() // it ends with its input
	_, rest := io.Copy(io.Discard, out)
	return took, errors.Join(err, rest, cmd.Wait())
}

// open is the same for a sandbox of the daemon's. While others have their turn, the next
// one is prepared, if the server's is to be.
func (s *starter) open(ctx context.Context, server string) (time.Duration, error) {
	begun := time.Now()
	opened, err := s.client.Open(ctx, server, "")
	if err != nil {
		return 0, err
	}
	_, err = opened.Stdout.Read(make([]byte, 1))
	took := time.Since(begun)
	err = errors.Join(err, s.client.Stop(ctx, opened.Sandbox)) // before its input ends, and it with that
	opened.Close()
	return took, err
}

// openSession is the time that a client needs to connect, open a session and make a
// call. It waits before, so that an instance can be ready.
func (g *gateway) openSession(ctx context.Context, server string) (time.Duration, error) {
	select {
	case <-time.After(200 * time.Millisecond):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	begun := time.Now()
	session, err := g.open("http", traffic.Handshake, server)
	if err != nil {
		return 0, err
	}
	took := time.Since(begun)
	return took, session.Close()
}
