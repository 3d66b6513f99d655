package backend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/redactor"
	"mcpgateway/proxy/socket"
	"mcpgateway/runtime/control"
)

// mode is whom a process takes for its client.
type mode int

const (
	ofSession mode = iota // the one client of a handshake-era session, whose messages pass as they are
	ofGateway             // the gateway, in the handshake era, in the name of whoever calls
	stateless             // nobody: each request stands for itself
	untouched             // it has not been told: nothing was written to it, nor read
)

// role is what a Conn is for.
type role struct {
	mode   mode
	offers []string // of the gateway as a client: the methods that a server may call
	// Of a session: what relates to no call, of all its instances, and how many it had
	// before this one.
	inbox  *link.Queue
	number int
}

// Conn is the connection to one server process. Its methods may be called
// concurrently.
type Conn struct {
	settings atomic.Pointer[Spec] // changed by adjust alone
	role                          // set for good when begun is closed, under mu
	begun    chan struct{}
	log      *slog.Logger
	secret   *redactor.Redactor
	files    control.Opened // but its Stdin, which is
	input    *socket.Writer
	exit     <-chan control.Exit
	outbox   *outbox
	long     *long
	asking   chan []byte // the gateway's own questions, which wait for a server that runs
	idle     *time.Timer
	ending   chan struct{} // closed when it has begun to end
	done     chan struct{}
	hello    mcp.Message // the server's answer to initialize or server/discover, if the gateway asked

	known      atomic.Bool // see Ended
	greeted    atomic.Bool // it was started, and answered if it was asked
	startedFor string      // the id of the request, for the log

	garbage  atomic.Int64 // lines that were no messages
	redacted atomic.Int64 // secrets of its own that it wrote
	halts    atomic.Int64 // freezes and thaws, so that it is odd while the server is halted
	changes  atomic.Int64 // notices that its tools are others
	throttle throttle     // of the log about them; the reader's own
	leaks    throttle     // of the log about secrets in its output; the reader's own

	mu        sync.Mutex
	calls     map[uint64]*Call
	alarm     alarm
	probes    map[uint64]chan<- mcp.Message
	abandoned time.Time // until when it may be busy with calls that their clients gave up
	lastID    uint64
	lastUsed  time.Time
	listening bool
	watchers  map[*watcher]struct{}
	held      bool
	tasks     bool // a client has asked for one, which is worked on between its requests
	started   time.Time
	ended     error // why it ended or is to end; set by endLocked
	endedAt   time.Time
	draining  error       // why it takes no more calls; nil if it does
	drained   *time.Timer // when it ends, whatever is in flight; nil if it does not drain
}

// spec is what the Conn knows of its server now.
func (c *Conn) spec() *Spec { return c.settings.Load() }

// newConn takes over an opened server.
func newConn(opened control.Opened, exit <-chan control.Exit, spec Spec, as role, longs *longs, log *slog.Logger) (*Conn, error) {
	secret, err := redactor.New(spec.Secrets)
	if err != nil {
		return nil, err
	}
	input, err := socket.NewWriter(opened.Stdin)
	if err != nil {
		return nil, err
	}
	c := &Conn{
		secret:   secret,
		role:     as,
		begun:    make(chan struct{}),
		log:      log.With("server", spec.Server, "project", spec.Project, "sandbox", opened.Sandbox),
		files:    opened,
		input:    input,
		exit:     exit,
		outbox:   newOutbox(),
		ending:   make(chan struct{}),
		asking:   make(chan []byte),
		probes:   map[uint64]chan<- mcp.Message{},
		done:     make(chan struct{}),
		calls:    map[uint64]*Call{},
		watchers: map[*watcher]struct{}{},
		lastUsed: time.Now(),
		started:  time.Now(),
	}
	c.settings.Store(&spec)
	c.long = &long{all: longs, conn: c, most: int64(spec.MaxMessageBytes)}
	c.alarm.timer = time.AfterFunc(math.MaxInt64, c.expire)
	c.outbox.try, c.outbox.broken = input.Try, c.closedInput
	if as.mode != untouched {
		close(c.begun)
	}
	c.mu.Lock() // the timer may fire before it is assigned
	c.idle = time.AfterFunc(spec.IdleTimeout, c.checkIdle)
	c.mu.Unlock()
	return c, nil
}

// Sandbox is the daemon's name for the instance.
func (c *Conn) Sandbox() string { return c.files.Sandbox }

// Done is closed when the instance has ended and its sandbox is gone.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err is why the instance has ended or is about to; nil while it serves.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// Close ends the instance because its session has ended. It does not wait.
func (c *Conn) Close() { c.shut(errSession) }

// Discard ends an instance that nobody needs. It does not wait.
func (c *Conn) Discard() { c.shut(errUnwanted) }

// Hold keeps an instance from ending for idleness, or lets it.
func (c *Conn) Hold(held bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = held
	c.lastUsed = time.Now()
}

// IdleSince is since when the instance has had nothing to do; idle is false if it
// has, or if somebody listens.
func (c *Conn) IdleSince() (at time.Time, idle bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lastUsed, !c.inUseLocked()
}

// inUseLocked reports whether somebody waits for something of the instance.
func (c *Conn) inUseLocked() bool {
	return len(c.calls) > 0 || c.listening || len(c.watchers) > 0
}

// InFlight is the number of calls in flight.
func (c *Conn) InFlight() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.calls)
}

// Listen makes the caller the one reader of the messages that relate to no call;
// ok is false if there is one already. stop ends it. An instance with a listener
// is in use.
func (c *Conn) Listen() (inbox *link.Queue, stop func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.listening {
		return nil, nil, false
	}
	c.listening = true
	c.outbox.wake() // the server shall run while somebody listens
	return c.inbox, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.listening = false
		c.lastUsed = time.Now()
	}, true
}

// run serves the connection until its end, stops the sandbox, and returns when
// nothing of it is left.
func (c *Conn) run(opener Opener, network Network) {
	defer close(c.done)
	var tail []byte
	var helpers sync.WaitGroup
	// Until the sandbox is gone: a server may have something to send as it stops.
	connected, disconnect := context.WithCancel(context.Background())
	defer disconnect()
	helpers.Go(func() { c.followDaemon(connected) })
	helpers.Go(func() { c.serveNetwork(connected, network) })
	helpers.Go(func() { c.write(connected, opener) })
	helpers.Go(func() { tail = c.drainStderr(c.files.Stderr) })

	cause := c.cause(c.read())
	c.end(cause)
	c.stop(opener)
	disconnect()
	// The sandbox is gone and so its standard error has ended; the deadline is
	// for a daemon that could not stop it.
	expire(c.files.Stderr, time.Now().Add(exitWait))
	c.input.Close()
	c.files.Stdout.Close()
	helpers.Wait()
	c.files.Stderr.Close()
	c.logEnd(cause, tail)
}

// serveNetwork serves what the instance may reach. One that would lack it is
// ended: a server that finds nothing is a riddle.
func (c *Conn) serveNetwork(ctx context.Context, network Network) {
	if c.spec().Network == nil && len(c.files.Network) == 0 {
		return
	}
	if err := network(ctx, *c.spec(), c.files.Sandbox, c.files.Network); err != nil {
		c.shut(fmt.Errorf("server %q was stopped: %w", c.spec().Server, err))
	}
}

// begin gives an untouched instance what it is for, and reports whether it was to be had.
func (c *Conn) begin(as role, correlation string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mode != untouched || c.ended != nil || c.draining != nil {
		return false
	}
	c.role, c.startedFor, c.held, c.lastUsed = as, correlation, false, time.Now()
	close(c.begun)
	return true
}

// read serves the server's output, once it is known whose it is, and returns why it ended.
func (c *Conn) read() error {
	select {
	case <-c.begun:
	case exit := <-c.exit:
		return &exitError{exit}
	}
	lines := mcp.NewLineReader(socket.Reader(c.files.Stdout), int(c.long.most))
	lines.Long = c.long
	for {
		line, err := lines.Read()
		if err != nil {
			return err
		}
		c.dispatch(c.redact(line))
	}
}

// cause finds out why the server's output ended.
func (c *Conn) cause(readErr error) error {
	if err := c.Err(); err != nil {
		return err
	}
	if exited, ok := errors.AsType[*exitError](readErr); ok {
		return exited
	}
	if errors.Is(readErr, mcp.ErrTooLong) {
		return &overError{fmt.Sprintf("server %q was stopped: it sent a line of more than %d bytes, its limit", c.spec().Server, c.long.most)}
	}
	timer := time.NewTimer(exitWait)
	defer timer.Stop()
	select {
	case exit := <-c.exit:
		return &exitError{exit}
	case <-c.files.Over:
		return &LostError{c.spec().Server}
	case <-timer.C:
		return &hungUpError{fmt.Sprintf("server %q was stopped: it closed its input or output", c.spec().Server)}
	}
}

// shut begins the end of the instance.
func (c *Conn) shut(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shutLocked(cause)
}

func (c *Conn) shutLocked(cause error) {
	if c.mode == untouched && c.ended == nil {
		close(c.begun)
	}
	c.endLocked(cause)
	// Interrupts the reader, which does the rest.
	expire(c.files.Stdout, time.Unix(1, 0))
}

// expire ends reads of a file at a time. A file that knows no deadlines is closed
// now: a reader that nothing can interrupt would be worse.
func expire(file *os.File, at time.Time) {
	if err := file.SetReadDeadline(at); err != nil {
		file.Close()
	}
}

// end answers every call with the cause.
func (c *Conn) end(cause error) {
	c.mu.Lock()
	c.endLocked(cause)
	cause = c.ended
	calls, watchers := c.calls, c.watchers
	c.calls, c.watchers = map[uint64]*Call{}, map[*watcher]struct{}{}
	if c.drained != nil {
		c.drained.Stop()
	}
	c.mu.Unlock()
	c.idle.Stop()
	c.alarm.timer.Stop()
	c.outbox.close(cause)
	c.forgetQuestions(calls)
	for _, call := range calls {
		call.failAs(mcp.FailureEnded, cause.Error())
	}
	for w := range watchers {
		w.ended(cause)
	}
}

// stop makes sure that the sandbox is gone.
func (c *Conn) stop(opener Opener) {
	if c.Lost() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopWait)
	defer cancel()
	err := opener.Stop(ctx, c.files.Sandbox)
	var refused *control.Error
	if err == nil || errors.Is(err, control.ErrClosed) || (errors.As(err, &refused) && refused.Code == control.CodeUnknown) {
		return // gone already, or the daemon sees to it as it ends the connection
	}
	c.log.Error("sandbox not stopped", "err", err)
}

func (c *Conn) logEnd(cause error, tail []byte) {
	level := slog.LevelWarn
	var refused *RefusedError
	switch {
	case errors.As(cause, &refused): // it is perhaps of the other era; if not, its callers are told
		level = slog.LevelInfo
	case !c.Failed():
		level, tail = slog.LevelInfo, nil
	}
	if c.stderrLines() == 0 {
		tail = nil
	}
	ctx := control.WithCorrelation(context.Background(), c.startedFor)
	c.log.Log(ctx, level, "instance ended", "err", cause, "not_messages", c.garbage.Load(), "redacted", c.redacted.Load(), "stderr", string(tail))
}

// checkIdle ends an instance that nobody uses, or looks again later.
func (c *Conn) checkIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	rest := c.spec().IdleTimeout - time.Since(c.lastUsed)
	if c.held || c.inUseLocked() {
		rest = c.spec().IdleTimeout
	}
	if rest > 0 && c.ended == nil {
		c.idle.Reset(rest)
		return
	}
	c.shutLocked(errIdle)
}

func (c *Conn) lateText(method string, waited time.Duration) string {
	text := fmt.Sprintf("server %q did not answer %.100q within %s, its limit", c.spec().Server, method, waited)
	if n := c.garbage.Load(); n > 0 {
		text += fmt.Sprintf("; it wrote %d lines that are no MCP messages", n)
	}
	return text
}
