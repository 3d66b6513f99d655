package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/tests/traffic"
)

// program is a process of the bed's.
type program struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has; then err is set
	err   error
}

// startProgram must run on the main goroutine.
func startProgram(cmd *exec.Cmd) (*program, error) {
	// A Ctrl-C is for this process, which stops the others. If it is killed, they end
	// with its main thread, which main keeps for who calls this.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGTERM}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &program{cmd: cmd, ended: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

func (p *program) pid() int { return p.cmd.Process.Pid }

// stop ends it, and whatever it has left in its process group.
func (p *program) stop() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s had ended by itself: %w", p.cmd.Path, errors.Join(p.err, errors.New(p.cmd.ProcessState.String())))
	default:
	}
	if err := p.cmd.Process.Signal(unix.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.ended:
		// The group's number is the program's, and none of another's while one is in it.
		if err := unix.Kill(-p.pid(), unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		return nil
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("%s did not end", p.cmd.Path), unix.Kill(-p.pid(), unix.SIGKILL))
	}
}

// eventually asks until done, or until the program has ended.
func (p *program) eventually(ctx context.Context, what string, done func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for {
		if ok, err := done(); err != nil || ok {
			return err
		}
		select {
		case <-tick.C:
		case <-late:
			return fmt.Errorf("after %s still not so: %s", patience, what)
		case <-p.ended:
			return fmt.Errorf("%s ended (%w) before %s", p.cmd.Path, p.err, what)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// startHTTP runs the server over net/http: what a call costs without any gateway.
func startHTTP(echo string) (*program, string, error) {
	cmd := exec.Command(echo, "-http")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	p, err := startProgram(cmd)
	if err != nil {
		return nil, "", err
	}
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, "", errors.Join(err, p.stop())
	}
	return p, strings.TrimSpace(url), nil
}

// stdioServer is the server at the end of a socketpair, as the gateway runs it.
type stdioServer struct {
	*program
	conn  net.Conn
	stdio *traffic.Stdio
}

// mostSessions is how many sessions a line may have.
const mostSessions = 128

func startStdio(echo string) (*stdioServer, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(echo)
	cmd.Stdin, cmd.Stdout = theirs, theirs
	p, err := startProgram(cmd)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &stdioServer{program: p, conn: conn, stdio: traffic.NewStdio(conn, conn, mostSessions)}, nil
}

func (s *stdioServer) open(i int) (traffic.Session, error) { return s.stdio.Session(i), nil }

func (s *stdioServer) stop() error { return errors.Join(s.program.stop(), s.conn.Close()) }

// selfCPU is what this process, the load generator, has used.
func selfCPU() (time.Duration, error) {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return 0, err
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()), nil
}
