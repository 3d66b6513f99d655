// Package peer is the other end of the control protocol: what the proxy and the
// CLI say to the daemon, and what they hear from it. The daemon does not link it.
//
// Runs in: proxy, CLI.
package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"mcpgateway/runtime/control"
)

// Notices receives what the daemon sends unasked. Calls come one at a time, in
// the order of arrival, from Run; answers wait behind them.
type Notices struct {
	// Policy gets a new generation, the JSON of a policy.Policy. Its error
	// refuses the generation, and the daemon is told why.
	Policy func(generation uint64, document []byte) error
	// Audit gets the audit log's file that comes with a generation, right before it.
	// The file becomes the callee's.
	Audit  func(control.Log, *os.File)
	Exited func(control.Exit)
	// Recorded gets a line of the daemon's own audit log, to be sent elsewhere. It must
	// not wait.
	Recorded func(line string)
	// Reloaded is told when a reload has ended, with the generation in force, and
	// whether the new configuration was good.
	Reloaded func(generation uint64, good bool)
}

// Client is a peer of the daemon. Its methods may be called concurrently, while
// Run runs.
type Client struct {
	conn    *control.Conn
	notices Notices

	over chan struct{} // closed when the connection has ended

	mu      sync.Mutex
	lastID  uint64
	waiting map[uint64]chan<- answer // nil after the connection has ended
	chain   string                   // whose heads the daemon signs over this connection
}

type answer struct {
	message control.Message
	files   []*os.File
}

// Dial connects to the daemon's control socket and agrees on the version. Under a
// service manager it may have to wait for the daemon to start; ctx ends the wait.
func Dial(ctx context.Context, path string, notices Notices) (*Client, error) {
	conn, err := control.Dial(path)
	if err != nil {
		return nil, fmt.Errorf("connect to the daemon at %s: %w", path, err)
	}
	defer context.AfterFunc(ctx, conn.Close)()
	if err := greet(conn); err != nil {
		conn.Close()
		return nil, fmt.Errorf("greet the daemon at %s: %w", path, err)
	}
	return &Client{conn: conn, notices: notices, over: make(chan struct{}), waiting: map[uint64]chan<- answer{}}, nil
}

func greet(conn *control.Conn) error {
	if err := conn.Send(control.Message{Kind: control.KindHello, Version: control.Version}); err != nil {
		return err
	}
	reply, files, err := conn.Receive()
	closeAll(files)
	switch {
	case err != nil:
		return err
	case reply.Kind == control.KindError:
		return &control.Error{Code: reply.Code, Text: reply.Text}
	case reply.Kind != control.KindHello || reply.Version != control.Version:
		return &control.Error{Code: control.CodeVersion, Text: fmt.Sprintf("got %q version %d, want %q version %d", reply.Kind, reply.Version, control.KindHello, control.Version)}
	}
	return nil
}

// Run delivers answers and notices until ctx ends or the connection does, and
// returns why. It closes the connection.
func (c *Client) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, c.conn.Close)
	defer stop()
	defer c.abandon()
	for {
		message, files, err := c.conn.Receive()
		if err == nil {
			err = c.deliver(message, files)
		} else {
			closeAll(files)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("control connection: %w", err)
		}
	}
}

// abandon ends every waiting call.
func (c *Client) abandon() {
	c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.over)
	for _, waiter := range c.waiting {
		close(waiter)
	}
	c.waiting = nil
}

func (c *Client) deliver(message control.Message, files []*os.File) error {
	switch message.Kind {
	case control.KindPolicy:
		return c.applyPolicy(message, files)
	case control.KindExited:
		closeAll(files)
		if c.notices.Exited != nil && message.Exit != nil {
			c.notices.Exited(*message.Exit)
		}
		return nil
	case control.KindReloaded:
		closeAll(files)
		if c.notices.Reloaded != nil {
			c.notices.Reloaded(message.Generation, message.Code == "")
		}
		return nil
	case control.KindRecorded:
		closeAll(files)
		if c.notices.Recorded != nil {
			c.notices.Recorded(message.Text)
		}
		return nil
	}
	if message.Kind == control.KindError && message.ID == 0 {
		closeAll(files)
		return &control.Error{Code: message.Code, Text: message.Text}
	}
	c.mu.Lock()
	waiter, ok := c.waiting[message.ID]
	delete(c.waiting, message.ID)
	c.mu.Unlock()
	if !ok { // the caller has given up: what it asked for is not left open
		closeAll(files)
		if message.Kind == control.KindOpened {
			return c.conn.Send(control.Message{Kind: control.KindStop, Sandbox: message.Sandbox})
		}
		return nil
	}
	waiter <- answer{message, files}
	return nil
}

func (c *Client) applyPolicy(message control.Message, files []*os.File) error {
	if want := 1 + logs(message); len(files) != want {
		closeAll(files)
		return fmt.Errorf("policy %d came with %d descriptors, want %d", message.Generation, len(files), want)
	}
	if message.Log != nil {
		c.mu.Lock()
		c.chain = message.Log.Chain
		c.mu.Unlock()
	}
	if c.notices.Policy == nil || c.notices.Audit == nil && len(files) > 1 {
		closeAll(files[1:])
	} else if len(files) > 1 {
		c.notices.Audit(*message.Log, files[1])
	}
	files = files[:1]
	defer closeAll(files)
	if c.notices.Policy == nil {
		return nil
	}
	document, err := control.ReadSealed(files[0])
	if err == nil {
		err = c.notices.Policy(message.Generation, document)
	}
	if err != nil {
		return c.conn.Send(control.Message{Kind: control.KindRefused, Generation: message.Generation, Text: err.Error()})
	}
	return c.conn.Send(control.Message{Kind: control.KindApplied, Generation: message.Generation})
}

func logs(message control.Message) int {
	if message.Log != nil {
		return 1
	}
	return 0
}

// call sends a request and waits for its answer.
func (c *Client) call(ctx context.Context, request control.Message) (answer, error) {
	reply := make(chan answer, 1)
	c.mu.Lock()
	if c.waiting == nil {
		c.mu.Unlock()
		return answer{}, control.ErrClosed
	}
	c.lastID++
	request.ID = c.lastID
	c.waiting[request.ID] = reply
	c.mu.Unlock()

	if err := c.conn.Send(request); err != nil {
		c.forget(request.ID)
		if _, ok := errors.AsType[*net.OpError](err); ok { // which ends the connection
			return answer{}, fmt.Errorf("%w: %w", control.ErrClosed, err)
		}
		return answer{}, fmt.Errorf("ask the daemon: %w", err)
	}
	select {
	case a, ok := <-reply:
		if !ok {
			return answer{}, control.ErrClosed
		}
		if a.message.Kind == control.KindError {
			closeAll(a.files)
			return answer{}, &control.Error{Code: a.message.Code, Text: a.message.Text}
		}
		return a, nil
	case <-ctx.Done():
		c.giveUp(request.ID, reply)
		return answer{}, ctx.Err()
	}
}

func (c *Client) forget(id uint64) (waited bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, waited = c.waiting[id]
	delete(c.waiting, id)
	return waited
}

// giveUp ends the wait for an answer. One that deliver has already taken is on
// its way into reply; it is received and thrown away, so that nothing leaks.
func (c *Client) giveUp(id uint64, reply <-chan answer) {
	if c.forget(id) {
		return
	}
	if a, ok := <-reply; ok {
		closeAll(a.files)
		if a.message.Kind == control.KindOpened {
			_ = c.conn.Send(control.Message{Kind: control.KindStop, Sandbox: a.message.Sandbox})
		}
	}
}

// Open starts an instance of a server. The daemon starts it from the configuration
// that has the revision, if there is one, else from the one in force: Opened says
// which. The daemon's log and its audit log name the request that ctx is for
// (control.WithCorrelation). An *control.Error says why it was refused.
func (c *Client) Open(ctx context.Context, server, revision string) (control.Opened, error) {
	a, err := c.call(ctx, control.Message{Kind: control.KindOpen, Server: server, Revision: revision, Trace: control.Correlation(ctx)})
	if err != nil {
		return control.Opened{}, err
	}
	opened := control.Opened{Sandbox: a.message.Sandbox, Revision: a.message.Revision, Over: c.over}
	const streams = 3
	if a.message.Network < 0 || len(a.files) != streams+a.message.Network {
		closeAll(a.files)
		return control.Opened{}, fmt.Errorf("open server %q: got %d descriptors, %d of them the network's, want %d beside these", server, len(a.files), a.message.Network, streams)
	}
	opened.Stdin, opened.Stdout, opened.Stderr, opened.Network = a.files[0], a.files[1], a.files[2], a.files[streams:]
	return opened, nil
}

// Stop ends a sandbox and every process in it. It returns when they are gone.
func (c *Client) Stop(ctx context.Context, sandbox string) error {
	_, err := c.call(ctx, control.Message{Kind: control.KindStop, Sandbox: sandbox})
	return err
}

// Freeze halts every process of a sandbox until Thaw.
func (c *Client) Freeze(ctx context.Context, sandbox string) error {
	_, err := c.call(ctx, control.Message{Kind: control.KindFreeze, Sandbox: sandbox})
	return err
}

// Thaw lets a frozen sandbox go on.
func (c *Client) Thaw(ctx context.Context, sandbox string) error {
	_, err := c.call(ctx, control.Message{Kind: control.KindThaw, Sandbox: sandbox})
	return err
}

// Reclaim makes the kernel take memory back from a sandbox: bytes, or with zero
// all that it can do without.
func (c *Client) Reclaim(ctx context.Context, sandbox string, bytes int64) error {
	_, err := c.call(ctx, control.Message{Kind: control.KindReclaim, Sandbox: sandbox, Bytes: bytes})
	return err
}

// List returns the running sandboxes: all of them for an administrator, its own
// for a proxy.
func (c *Client) List(ctx context.Context) ([]control.Sandbox, error) {
	a, err := c.call(ctx, control.Message{Kind: control.KindList})
	if err != nil {
		return nil, err
	}
	defer closeAll(a.files)
	if len(a.files) != 1 {
		return nil, fmt.Errorf("list sandboxes: got %d descriptors, want 1", len(a.files))
	}
	document, err := control.ReadSealed(a.files[0])
	if err != nil {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	var list []control.Sandbox
	if err := json.Unmarshal(document, &list); err != nil {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	return list, nil
}

// Reload makes the daemon read its configuration again. An *control.Error says what is
// wrong with the new one; the old one then stays in force.
func (c *Client) Reload(ctx context.Context) error {
	_, err := c.call(ctx, control.Message{Kind: control.KindReload})
	return err
}

// audits reports whether the daemon signs a chain's heads over this connection. It can't
// tell itself: a head is a number and a hash.
func (c *Client) audits(chain string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.chain == chain
}

// Checkpoint has a head of the audit log signed.
func (c *Client) Checkpoint(ctx context.Context, sequence uint64, hash string) (control.Head, error) {
	a, err := c.call(ctx, control.Message{Kind: control.KindCheckpoint, Head: &control.Head{Sequence: sequence, Hash: hash}})
	if err != nil {
		return control.Head{}, err
	}
	closeAll(a.files)
	if a.message.Head == nil {
		return control.Head{}, fmt.Errorf("sign the audit log: got %q without a head", a.message.Kind)
	}
	return *a.message.Head, nil
}

// Rotate has the audit log's file put aside, which ends with a head, and returns
// the next one.
func (c *Client) Rotate(ctx context.Context, sequence uint64, hash string) (control.Log, *os.File, error) {
	a, err := c.call(ctx, control.Message{Kind: control.KindRotate, Head: &control.Head{Sequence: sequence, Hash: hash}})
	if err != nil {
		return control.Log{}, nil, err
	}
	if a.message.Log == nil || len(a.files) != 1 {
		closeAll(a.files)
		return control.Log{}, nil, fmt.Errorf("rotate the audit log: got %q with %d descriptors, want 1", a.message.Kind, len(a.files))
	}
	return *a.message.Log, a.files[0], nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
