// Package tail remembers the last lines that each server wrote to its standard error,
// for the operator, who may also wait for more. It gets them without the server's
// secrets, as they are otherwise: who shows them on a terminal must clean them. What it
// holds is bounded, and a reader that is too slow misses lines and is told how many.
//
// Runs in: proxy.
package tail

import (
	"context"
	"errors"
	"sync"
	"time"

	"mcpgateway/proxy/report"
)

// Bounds of what is remembered of one server, and of who may wait for more.
const (
	maxLines     = 1000
	maxBytes     = 256 << 10
	maxFollowers = 8 // of all servers together
)

// ErrCrowd is why somebody can't follow.
var ErrCrowd = errors.New("too many follow the servers' output already: end one of them")

// Lines are those of all servers. Its methods may be called concurrently.
type Lines struct {
	mu        sync.Mutex
	servers   map[string]*ring
	followers int
}

// New returns one that knows no server: see Keep.
func New() *Lines { return &Lines{servers: map[string]*ring{}} }

// ring is the last lines of one server, the oldest first.
type ring struct {
	lines []report.Line
	bytes int
	next  uint64        // number of the line that comes next
	more  chan struct{} // closed when a line comes, or none will
	over  bool          // the server is forgotten
}

// Keep says which servers there are. Others are forgotten, and who follows them is told
// that it is over.
func (l *Lines) Keep(names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := make(map[string]*ring, len(names))
	for _, name := range names {
		if kept[name] = l.servers[name]; kept[name] == nil {
			kept[name] = &ring{more: make(chan struct{})}
		}
		delete(l.servers, name)
	}
	for _, gone := range l.servers {
		gone.over = true
		close(gone.more)
	}
	l.servers = kept
}

// Add takes a line. It does not wait, and does not keep text.
func (l *Lines) Add(server, sandbox string, text []byte) {
	line := report.Line{Time: time.Now(), Sandbox: sandbox, Text: string(text)}
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.servers[server]
	if r == nil {
		return
	}
	r.lines = append(r.lines, line)
	r.bytes += len(text)
	r.next++
	drop := max(0, len(r.lines)-maxLines)
	for _, old := range r.lines[:drop] {
		r.bytes -= len(old.Text)
	}
	for r.bytes > maxBytes {
		r.bytes -= len(r.lines[drop].Text)
		drop++
	}
	clear(r.lines[:drop]) // their texts are not held
	r.lines = r.lines[drop:]
	close(r.more)
	r.more = make(chan struct{})
}

// Reader reads the lines of one server in order.
type Reader struct {
	lines *Lines
	ring  *ring
	next  uint64
	once  sync.Once
}

// Read returns the last n lines of a server, or as many as there are.
func (l *Lines) Read(server string, n int) []report.Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.servers[server]
	if r == nil {
		return nil
	}
	return append([]report.Line(nil), r.lines[max(0, len(r.lines)-n):]...)
}

// Follow returns a reader that begins with the last n lines of a server. Close must be
// called when it is over.
func (l *Lines) Follow(server string, n int) (*Reader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.servers[server]
	switch {
	case r == nil:
		return nil, errors.New("there is no such server")
	case l.followers == maxFollowers:
		return nil, ErrCrowd
	}
	l.followers++
	return &Reader{lines: l, ring: r, next: r.next - uint64(min(n, len(r.lines)))}, nil
}

// Next waits for lines and returns all that there are. An error says that no more will
// come, or that ctx has ended.
func (r *Reader) Next(ctx context.Context) ([]report.Line, error) {
	for {
		lines, more, over := r.take()
		if len(lines) > 0 {
			return lines, nil
		}
		if over {
			return nil, errors.New("the server is not in the configuration any more")
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (r *Reader) take() (lines []report.Line, more <-chan struct{}, over bool) {
	r.lines.mu.Lock()
	defer r.lines.mu.Unlock()
	have := r.ring.next - r.next // that were written since
	missed := have - min(have, uint64(len(r.ring.lines)))
	lines = append(lines, r.ring.lines[uint64(len(r.ring.lines))-(have-missed):]...)
	if len(lines) > 0 {
		lines[0].Missed = missed
	}
	r.next = r.ring.next
	return lines, r.ring.more, r.ring.over
}

// Close makes room for others who follow.
func (r *Reader) Close() {
	r.once.Do(func() {
		r.lines.mu.Lock()
		defer r.lines.mu.Unlock()
		r.lines.followers--
	})
}
