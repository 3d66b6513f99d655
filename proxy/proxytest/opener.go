// Package proxytest gives the proxy's tests real server processes: the test
// binary runs itself again as a small MCP server, connected by socketpairs as
// the daemon would. It puts nothing into a sandbox.
//
// Runs in: tests.
package proxytest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/runtime/control"
)

// behaviourVariable makes the test binary a server, and againVariable one that its opener
// has started before.
const (
	behaviourVariable = "PROXYTEST_BEHAVIOUR"
	againVariable     = "PROXYTEST_AGAIN"
)

// Main runs the tests, or the server that the environment names: one of this
// package, or of own. TestMain calls it.
func Main(m *testing.M, own ...Own) int {
	behaviour := os.Getenv(behaviourVariable)
	if behaviour == "" {
		return m.Run()
	}
	for _, more := range own {
		if main, ok := more[behaviour]; ok {
			return main()
		}
	}
	return serve(behaviour)
}

// Own are servers of a test's own, by behaviour. Each speaks over stdin and stdout
// and returns its exit status.
type Own map[string]func() int

// Opener stands in for the daemon: it starts the server whose behaviour is the
// server's name.
type Opener struct {
	Exited func(control.Exit) // gets each exit; must be set before Open
	Fail   map[string]error   // servers that cannot be started
	OOM    map[string]bool    // servers whose exit is reported as out of memory
	// Halting, if there is one, comes before each freeze or thaw; its error is the
	// answer.
	Halting func(freeze bool) error
	// Reclaiming, if there is one, is told of each sandbox whose memory is wanted back.
	Reclaiming func(sandbox string)
	// Network gives the descriptors of a server's network; nil for none.
	Network func(server string) []*os.File
	// Revision is what each server is started from, whatever was asked for; nil for
	// what was asked for.
	Revision func(server string) string
	// Silent has List wait for its context.
	Silent atomic.Bool

	mu      sync.Mutex
	over    chan struct{} // of what runs
	gone    bool
	doomed  int
	last    int
	running map[string]*exec.Cmd
	opened  []string
	waiting sync.WaitGroup
}

// Open starts a server.
func (o *Opener) Open(_ context.Context, server, revision string) (control.Opened, error) {
	o.mu.Lock()
	refused := o.Fail[server]
	o.mu.Unlock()
	if refused != nil {
		return control.Opened{}, refused
	}
	stdin, farStdin, err := socketpair()
	if err != nil {
		return control.Opened{}, err
	}
	defer farStdin.Close()
	stdout, farStdout, err := socketpair()
	if err != nil {
		return control.Opened{}, err
	}
	defer farStdout.Close()
	stderr, farStderr, err := os.Pipe()
	if err != nil {
		return control.Opened{}, err
	}
	defer farStderr.Close()
	cmd := exec.Command(os.Args[0]) //nolint:gosec // the test binary itself
	cmd.Env = append(os.Environ(), behaviourVariable+"="+server)
	if o.hasOpened(server) {
		cmd.Env = append(cmd.Env, againVariable+"=1")
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = farStdin, farStdout, farStderr
	started := time.Now()
	if err := cmd.Start(); err != nil {
		return control.Opened{}, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last++
	sandbox := server + "-" + strconv.Itoa(o.last)
	if o.running == nil {
		o.running = map[string]*exec.Cmd{}
	}
	o.running[sandbox] = cmd
	o.opened = append(o.opened, sandbox)
	if o.over == nil {
		o.over = make(chan struct{})
	}
	over := o.over
	if o.doomed > 0 {
		o.doomed--
		o.over = nil
		close(over)
		_ = cmd.Process.Kill() // it may have ended by itself
	}
	o.waiting.Go(func() { o.wait(cmd, server, sandbox, started, over) })
	if o.Revision != nil {
		revision = o.Revision(server)
	}
	opened := control.Opened{Sandbox: sandbox, Revision: revision, Stdin: stdin, Stdout: stdout, Stderr: stderr, Over: over}
	if o.Network != nil {
		opened.Network = o.Network(server)
	}
	return opened, nil
}

// Refuse has a server not be started from now on, for a cause; nil: it is again.
func (o *Opener) Refuse(server string, cause error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.Fail = map[string]error{server: cause}
}

// Vanish is what a daemon does that is killed while its servers can't end, for they are
// frozen. The next starts servers again at once.
func (o *Opener) Vanish() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over != nil {
		close(o.over)
	}
	o.over = nil
}

// Die is Vanish for servers that can end.
func (o *Opener) Die() {
	o.Vanish()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, cmd := range o.running {
		_ = cmd.Process.Kill() // it may have ended by itself
	}
}

// Doom has the daemon die just after it has started each of the next n servers.
func (o *Opener) Doom(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.doomed = n
}

// Leave has there be no daemon, or one again. It ends nothing.
func (o *Opener) Leave(gone bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gone = gone
}

// Away is an error while there is no daemon.
func (o *Opener) Away() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gone {
		return errors.New("it was told to leave")
	}
	return nil
}

func (o *Opener) wait(cmd *exec.Cmd, server, sandbox string, started time.Time, over <-chan struct{}) {
	_ = cmd.Wait() // its state says more than its error
	status, signal := cmd.ProcessState.ExitCode(), 0
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		signal = int(ws.Signal())
		status = 128 + signal
	}
	o.mu.Lock()
	delete(o.running, sandbox)
	o.mu.Unlock()
	select {
	case <-over:
		return
	default:
	}
	o.Exited(control.Exit{
		Sandbox: sandbox, Server: server, Status: status, Signal: signal, Lived: time.Since(started),
		OOM: o.OOM[server], MemoryLimit: 64 << 20,
	})
}

// Stop kills a server.
func (o *Opener) Stop(_ context.Context, sandbox string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	cmd, ok := o.running[sandbox]
	if !ok {
		return &control.Error{Code: control.CodeUnknown, Text: fmt.Sprintf("no sandbox %q", sandbox)}
	}
	return cmd.Process.Kill()
}

// Freeze halts a server with SIGSTOP.
func (o *Opener) Freeze(_ context.Context, sandbox string) error {
	return o.halt(sandbox, true, syscall.SIGSTOP)
}

// Thaw lets it go on.
func (o *Opener) Thaw(_ context.Context, sandbox string) error {
	return o.halt(sandbox, false, syscall.SIGCONT)
}

// Reclaim only tells.
func (o *Opener) Reclaim(_ context.Context, sandbox string, _ int64) error {
	if o.Reclaiming != nil {
		o.Reclaiming(sandbox)
	}
	return nil
}

func (o *Opener) halt(sandbox string, freeze bool, sig syscall.Signal) error {
	if o.Halting != nil {
		if err := o.Halting(freeze); err != nil {
			return err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	cmd, ok := o.running[sandbox]
	if !ok {
		return &control.Error{Code: control.CodeUnknown, Text: fmt.Sprintf("no sandbox %q", sandbox)}
	}
	return cmd.Process.Signal(sig)
}

// List gives what runs.
func (o *Opener) List(ctx context.Context) (list []control.Sandbox, err error) {
	if o.Silent.Load() {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for sandbox, cmd := range o.running {
		list = append(list, control.Sandbox{ID: sandbox, Server: sandbox[:strings.LastIndexByte(sandbox, '-')], PID: cmd.Process.Pid})
	}
	return list, nil
}

// Opened lists all sandboxes ever started, in order.
func (o *Opener) Opened() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.opened)
}

// hasOpened reports whether a server was started before.
func (o *Opener) hasOpened(server string) bool {
	return slices.ContainsFunc(o.Opened(), func(sandbox string) bool { return strings.HasPrefix(sandbox, server+"-") })
}

// Running is how many servers run.
func (o *Opener) Running() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.running)
}

// Wait returns when all servers are gone.
func (o *Opener) Wait() { o.waiting.Wait() }

// socketpair gives two ends as the daemon makes them: near non-blocking, so that
// Close interrupts a Read of it.
func socketpair() (near, far *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "near"), os.NewFile(uintptr(fds[1]), "far"), nil
}
