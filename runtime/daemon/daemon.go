// Package daemon is the privileged side of the gateway: it reads the
// configuration, answers requests on the control socket, and starts, limits,
// watches and stops sandboxes. It never reads a byte that a client or a server
// wrote, and speaks no network protocol.
//
// Runs in: daemon.
package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mcpgateway/images"
	"mcpgateway/policy"
	"mcpgateway/runtime/control"
	"mcpgateway/runtime/logbook"
	"mcpgateway/sandbox"
)

const (
	// maxAdmins bounds the open control connections of root.
	maxAdmins = 64
	// acceptPause is how long the daemon waits after it could not accept.
	acceptPause = 100 * time.Millisecond
)

// Options are what a daemon is started with.
type Options struct {
	Config   string // path of the configuration
	Keys     string // path of the API keys' hashes
	TokenKey string // path of the secret of the gateway's own tokens
	State    string // folder of the audit log's key and its signed heads
	Dir      string // folder for run-time state, in one of root's; no other daemon's. New makes it anew
	Launcher string // path of mcp-gateway-launch
	ProxyUID int    // who may connect as the proxy; never 0
	Listener *net.UnixListener
	// Retirement is how long the proxy has to end what a new configuration has changed,
	// beyond the longest call.
	Retirement time.Duration
	// WatchEvery is how often the files are looked at, > 0. A change has settled when it
	// is the same twice.
	WatchEvery time.Duration
	// Logging is told how to log from now on, by each configuration that comes into
	// force; nil: nobody is.
	Logging func(policy.Logging)
	// Reloading is called when a reload begins, whoever wants it, and what it returns
	// when it has ended; nil: nobody wants to know.
	Reloading func() (ended func(error))

	salt string // of the names of programs: while the daemon runs, one program has one name
}

// Daemon is the privileged side of one gateway.
type Daemon struct {
	options    Options
	image      *images.Image
	supervisor *supervisor
	current    atomic.Pointer[generation]
	offered    atomic.Pointer[generation] // to the proxy, which may have taken it already; nil for none
	book       *logbook.Book

	reloadMu   sync.Mutex
	lastNumber uint64 // of a generation
	files      []string
	loaded     string // what the files were when they were last read

	mu    sync.Mutex
	peers map[*monitor]bool
}

// New reads the configuration and prepares the host. What either does not allow
// to be enforced is an error; nothing has been started then.
func New(options Options) (*Daemon, error) {
	if options.ProxyUID == 0 {
		return nil, errors.New("the proxy must not run as root: give it a user of its own")
	}
	if err := sandbox.Sweep(options.Dir); err != nil {
		return nil, err
	}
	etc := filepath.Join(options.Dir, "etc")
	if err := images.WriteEtc(etc); err != nil {
		return nil, err
	}
	image, err := images.Host(etc)
	if err != nil {
		return nil, err
	}
	options.salt = rand.Text()
	d := &Daemon{options: options, image: image, lastNumber: 1, peers: map[*monitor]bool{}}
	d.book = logbook.New(options.State, d.pass)
	first, err := d.load()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(d.book.Prepare(settings(first.config)), d.book.Use()); err != nil {
		return nil, err
	}
	pool := first.config.Sandbox.UIDPool
	runtime, err := sandbox.New(sandbox.Host{
		Dir: options.Dir, Launcher: options.Launcher, UIDStart: pool.Start, UIDCount: pool.Count,
	})
	if err != nil {
		return nil, err
	}
	d.supervisor = newSupervisor(runtime, d.book, options.Retirement)
	if err := d.supervisor.setProjects(first.config); err != nil {
		return nil, errors.Join(err, runtime.Close())
	}
	d.use(first)
	d.book.Record(eventApplied, "generation", first.number)
	return d, nil
}

// use puts a generation in force.
func (d *Daemon) use(g *generation) {
	d.current.Store(g)
	d.restock(g)
	if d.options.Logging != nil {
		d.options.Logging(g.config.Logging)
	}
}

// Status is how many servers are enabled, and how many instances run. It takes the locks
// that requests take, and returns only once it has had them.
func (d *Daemon) Status() (servers, instances int) {
	d.connected()
	d.supervisor.mu.Lock()
	defer d.supervisor.mu.Unlock()
	return len(d.current.Load().revisions), len(d.supervisor.instances)
}

// Run answers peers until ctx ends; then it ends every sandbox and returns once
// nothing of them is left.
func (d *Daemon) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { d.options.Listener.Close() })()
	var connections, keeping sync.WaitGroup
	watching, cancel := context.WithCancel(ctx)
	connections.Go(func() { d.watch(watching) })
	connections.Go(func() { d.refreshSecrets(watching) })
	recording, stop := context.WithCancel(context.WithoutCancel(ctx))
	keeping.Go(func() { d.book.Run(recording) })
	defer d.book.Close()
	defer keeping.Wait()
	defer stop()
	err := d.accept(ctx, &connections)
	cancel()
	for _, m := range d.connected() {
		m.conn.Close()
	}
	connections.Wait()
	if ctx.Err() != nil {
		err = nil
	}
	return errors.Join(err, d.supervisor.close())
}

func (d *Daemon) accept(ctx context.Context, connections *sync.WaitGroup) error {
	for {
		socket, err := d.options.Listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept on the control socket: %w", err)
		}
		if err != nil { // too many files, say: it passes
			slog.Error("accept control connection", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		conn, err := control.NewConn(socket)
		if err != nil {
			slog.Error("accept control connection", "err", err)
			continue
		}
		conn.RefuseDescriptors()
		m := newMonitor(d, conn)
		if m.role == 0 || !d.add(m) {
			slog.Warn("refused a control connection: neither root nor the proxy's user, or too many", "peer", conn.Peer.Pid, "uid", conn.Peer.Uid)
			d.book.Refused(eventPeerRefused, "pid", conn.Peer.Pid, "uid", conn.Peer.Uid)
			conn.Close()
			continue
		}
		connections.Go(func() {
			defer d.forget(m)
			m.run(ctx)
		})
	}
}

// add admits a peer. There is one proxy: a new one takes the place of the old,
// whose servers end. Connections that do nothing can so neither keep an
// administrator out nor hold up a reload.
func (d *Daemon) add(m *monitor) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	admins := 0
	for other := range d.peers {
		if m.role == roleProxy && other.role == roleProxy {
			other.conn.Dismiss(control.Message{Kind: control.KindError, Code: control.CodeReplaced, Text: "another proxy has taken the place of this one"})
			m.follows = true
		} else if other.role == roleAdmin {
			admins++
		}
	}
	if m.role == roleAdmin && admins >= maxAdmins {
		return false
	}
	d.peers[m] = true
	return true
}

func (d *Daemon) forget(m *monitor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.peers, m)
}

func (d *Daemon) connected() []*monitor {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.peers))
}
