package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"mcpgateway/runtime/control"
)

// returnWait is how long a start waits for a daemon that has just gone: one that is
// restarted is back by then.
const returnWait = 10 * time.Second

// ErrAway is Open's error while there is no daemon. Its text is for clients, too.
var ErrAway = fmt.Errorf("the gateway can start no server at the moment, try again in a little while: %w", control.ErrClosed)

// errNone is that of everything else.
var errNone = fmt.Errorf("there is no daemon at the moment: %w", control.ErrClosed)

var errOtherChain = fmt.Errorf("the chain began over another connection: %w", control.ErrClosed)

// Link keeps a proxy connected: when a connection to the daemon has ended, it makes the
// next. What was opened over one ends with it, and no other daemon knows its name. Its
// methods may be called concurrently, while Run runs.
type Link struct {
	path     string
	notices  Notices
	lost     func(error)
	patience time.Duration

	mu      sync.Mutex
	client  *Client       // whose policy is in force; nil: there is none
	why     error         // there is none
	until   time.Time     // a start waits for one
	changed chan struct{} // closed when client is another
}

// NewLink returns a link to the daemon's control socket. lost is told, from Run, each time
// that there is no daemon any more, or none yet, and why.
func NewLink(path string, notices Notices, lost func(error)) *Link {
	return &Link{
		path: path, notices: notices, lost: lost, patience: returnWait, changed: make(chan struct{}),
		why: errors.New("it has not answered yet"), until: time.Now().Add(returnWait),
	}
}

// pauses are those between attempts to connect. The first attempt comes at once: under a
// service manager it is what starts the daemon.
func pauses() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{InitialInterval: 50 * time.Millisecond, RandomizationFactor: 0.3, Multiplier: 1.5, MaxInterval: 4 * time.Second}
}

// steady is how long a connection lasts that is lost by a restart. One that ends sooner is
// part of a row of failures.
const steady = 5 * time.Second

// Run keeps the connection, delivers answers and notices, and returns when ctx ends or a
// daemon turns the proxy away for good: it speaks another version, or another proxy has
// taken this one's place.
func (l *Link) Run(ctx context.Context) error {
	defer l.close()
	next := pauses()
	told := false
	for {
		began := time.Now()
		served, err := l.connect(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		l.mu.Lock()
		l.why = err
		l.mu.Unlock()
		if served || !told {
			l.lost(err)
			told = true
		}
		if _, ok := errors.AsType[*control.Error](err); ok {
			return err
		}
		if served && time.Since(began) > steady {
			next.Reset()
			continue
		}
		pause := time.NewTimer(next.NextBackOff())
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
}

// connect serves one connection until its end, and reports whether its policy was in
// force.
func (l *Link) connect(ctx context.Context) (served bool, err error) {
	var client *Client
	notices := l.notices
	notices.Policy = func(generation uint64, document []byte) error {
		err := l.notices.Policy(generation, document)
		served = served || err == nil
		l.judged(client, err)
		return err
	}
	if client, err = Dial(ctx, l.path, notices); err != nil {
		return false, err
	}
	l.mu.Lock()
	l.until = time.Now().Add(l.patience) // its policy is to come
	l.mu.Unlock()
	err = client.Run(ctx)
	l.drop(client)
	return served, err
}

// judged notes what became of a policy that came over a connection.
func (l *Link) judged(by *Client, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.client == by: // a reload
	case err != nil:
		l.why = fmt.Errorf("its configuration was refused: %w", err)
	default:
		l.setLocked(by)
	}
}

// drop forgets a connection that has ended.
func (l *Link) drop(client *Client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client == client {
		l.why = control.ErrClosed // Run knows more
		l.until = time.Now().Add(l.patience)
		l.setLocked(nil)
	}
}

// close has nobody wait any more.
func (l *Link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = time.Time{}
	l.setLocked(nil)
}

func (l *Link) setLocked(client *Client) {
	l.client = client
	close(l.changed)
	l.changed = make(chan struct{})
}

// Away is why there is no daemon whose policy is in force; nil if there is one.
func (l *Link) Away() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil {
		return nil
	}
	return l.why
}

// now is the connection that there is.
func (l *Link) now() (*Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client == nil {
		return nil, errNone
	}
	return l.client, nil
}

// wait is now, for which it waits as long as a restart of the daemon may take.
func (l *Link) wait(ctx context.Context) (*Client, error) {
	for {
		l.mu.Lock()
		client, changed, patience := l.client, l.changed, time.Until(l.until)
		l.mu.Unlock()
		if client != nil {
			return client, nil
		}
		if patience <= 0 {
			return nil, ErrAway
		}
		timer := time.NewTimer(patience)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
		timer.Stop()
	}
}

// Open is Client.Open. If the daemon has just gone, it waits for the next one.
func (l *Link) Open(ctx context.Context, server, revision string) (control.Opened, error) {
	for {
		client, err := l.wait(ctx)
		if err != nil {
			return control.Opened{}, err
		}
		opened, err := client.Open(ctx, server, revision)
		if !errors.Is(err, control.ErrClosed) {
			return opened, err
		}
		l.drop(client) // Run may not have noticed yet
	}
}

// Stop is Client.Stop.
func (l *Link) Stop(ctx context.Context, sandbox string) error {
	client, err := l.now()
	if err != nil {
		return err
	}
	return client.Stop(ctx, sandbox)
}

// Freeze is Client.Freeze.
func (l *Link) Freeze(ctx context.Context, sandbox string) error {
	client, err := l.now()
	if err != nil {
		return err
	}
	return client.Freeze(ctx, sandbox)
}

// Thaw is Client.Thaw.
func (l *Link) Thaw(ctx context.Context, sandbox string) error {
	client, err := l.now()
	if err != nil {
		return err
	}
	return client.Thaw(ctx, sandbox)
}

// Reclaim is Client.Reclaim.
func (l *Link) Reclaim(ctx context.Context, sandbox string, bytes int64) error {
	client, err := l.now()
	if err != nil {
		return err
	}
	return client.Reclaim(ctx, sandbox, bytes)
}

// List is Client.List.
func (l *Link) List(ctx context.Context) ([]control.Sandbox, error) {
	client, err := l.now()
	if err != nil {
		return nil, err
	}
	return client.List(ctx)
}

// audits is now, if the daemon signs a chain's heads over it.
func (l *Link) audits(chain string) (*Client, error) {
	client, err := l.now()
	if err == nil && !client.audits(chain) {
		return nil, errOtherChain
	}
	return client, err
}

// Checkpoint is Client.Checkpoint, for a chain that began over the connection that there
// is.
func (l *Link) Checkpoint(ctx context.Context, chain string, sequence uint64, hash string) (control.Head, error) {
	client, err := l.audits(chain)
	if err != nil {
		return control.Head{}, err
	}
	return client.Checkpoint(ctx, sequence, hash)
}

// Rotate is Client.Rotate, for such a chain.
func (l *Link) Rotate(ctx context.Context, chain string, sequence uint64, hash string) (control.Log, *os.File, error) {
	client, err := l.audits(chain)
	if err != nil {
		return control.Log{}, nil, err
	}
	return client.Rotate(ctx, sequence, hash)
}
