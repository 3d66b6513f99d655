// Package audit writes the audit log of calls and decisions: records are queued,
// and one goroutine chains and writes them, through a descriptor that the daemon
// opened. A record of a call that was let in is never lost for want of room: its
// slot was reserved before. It opens no file; what can't be written stops calls,
// or is counted, as the configuration says, and never the proxy.
//
// Runs in: proxy, CLI (digests).
package audit

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"mcpgateway/policy"
	"mcpgateway/policy/chain"
)

// ErrBlocked is why a call is refused while the log can't be written.
var ErrBlocked = errors.New("the audit log can't be written: no call is let in until it can")

// maxSlots is how many records there may be that are not written yet, those of
// calls under way among them.
const maxSlots = 8192

// maxForeign is how many records of the daemon may wait to be sent elsewhere.
const maxForeign = 256

// Keeper signs heads of the log, and gives it files. It is the daemon.
type Keeper interface {
	Checkpoint(ctx context.Context, head chain.Head) (chain.Head, error)
	Rotate(ctx context.Context, head chain.Head) (Handover, error)
}

// Handover is a file of the log, and where it goes on from.
type Handover struct {
	File   *os.File
	Number uint64      // of the handover; one with a lower number is out of date
	Chain  string      // what the proxy's chain is called
	After  *chain.Head // the head that was signed last, nil for none
}

// Close lets go of the file, if there is one.
func (h Handover) Close() {
	if h.File != nil {
		h.File.Close()
	}
}

// Log is the audit log of calls and decisions. A nil Log does nothing, and neither
// does one that the configuration has off. Its methods may be called concurrently.
type Log struct {
	keeper  Keeper
	log     *slog.Logger
	slots   *slots // one for each record that was promised and is not written
	queue   *queue
	blocked atomic.Bool   // the file can't be written, and the rule is block
	lost    atomic.Uint64 // records, since the start
	now     atomic.Pointer[settings]
	entries sync.Pool

	nextMu sync.Mutex
	next   *change
	poke   chan struct{} // there is a next

	foreign chan string // records of the daemon's own, to be sent elsewhere
}

// settings are what Write needs of the configuration. They never change.
type settings struct {
	*policy.Audit
	digests sync.Pool // of *digest
}

// change is a configuration that the writer has yet to take.
type change struct {
	policy *policy.Audit // nil: off
	file   Handover
}

// New returns a log that is off until Apply. Run writes it.
func New(keeper Keeper, log *slog.Logger) *Log {
	return &Log{
		keeper: keeper, log: log,
		slots: newSlots(maxSlots), queue: newQueue(),
		entries: sync.Pool{New: func() any { return new(entry) }},
		poke:    make(chan struct{}, 1),
		foreign: make(chan string, maxForeign),
	}
}

// Apply takes a new configuration, nil for none, and the file that came with it,
// which becomes the log's. What is queued goes to the file of the configuration
// before.
func (l *Log) Apply(p *policy.Audit, file Handover) {
	if l == nil {
		file.Close()
		return
	}
	var s *settings
	if p != nil {
		s = &settings{Audit: p}
		s.digests.New = func() any { return &digest{Hash: hmac.New(sha256.New, p.DigestKey)} }
	}
	l.nextMu.Lock()
	if l.next != nil {
		l.next.file.Close()
	}
	l.next = &change{p, file}
	l.nextMu.Unlock()
	l.now.Store(s)
	signal(l.poke)
}

// Lost is how many records could not be written since the start.
func (l *Log) Lost() uint64 {
	if l == nil {
		return 0
	}
	return l.lost.Load()
}

// Slot is the promise that a record will be written. The zero Slot is none's.
type Slot struct{ log *Log }

// Reserve makes sure of room for one record. It waits under ctx while the queue is
// full. ErrBlocked: the log can't be written, and the call must be refused.
func (l *Log) Reserve(ctx context.Context) (Slot, error) {
	if l == nil || l.now.Load() == nil {
		return Slot{}, nil
	}
	if l.blocked.Load() {
		return Slot{}, ErrBlocked
	}
	if err := l.slots.acquire(ctx); err != nil {
		return Slot{}, err
	}
	return Slot{l}, nil
}

// Write writes the record, once; it does not wait. The record may be changed
// afterwards.
func (s Slot) Write(r *Record) {
	if s.log == nil {
		return
	}
	rules := s.log.now.Load()
	if rules == nil { // it was turned off meanwhile
		s.Release()
		return
	}
	e, _ := s.log.entries.Get().(*entry)
	e.slot = true
	e.members = r.append(e.members[:0])
	e.members = rules.appendArguments(e.members, r)
	s.log.queue.add(e)
}

// Release gives the slot back: there is nothing to write.
func (s Slot) Release() {
	if s.log != nil {
		s.log.slots.release()
	}
}

// Mirror sends a line of the daemon's own log where this one is sent, too. It does not
// wait: the daemon has it in its file.
func (l *Log) Mirror(line string) {
	if l == nil {
		return
	}
	select {
	case l.foreign <- line:
	default:
	}
}

// digest makes the keyed digests of arguments, HMAC-SHA-256.
type digest struct {
	hash.Hash
	sum [sha256.Size]byte
}

// appendDigest appends the digest of arguments, in hexadecimal.
func (s *settings) appendDigest(dst, arguments []byte) []byte {
	d, _ := s.digests.Get().(*digest)
	defer s.digests.Put(d)
	d.Reset()
	_, _ = d.Write(arguments) // it never fails
	return hex.AppendEncode(dst, d.Sum(d.sum[:0]))
}

// Digest is what a record holds of a call's arguments.
func Digest(key, arguments []byte) string {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write(arguments) // it never fails
	return hex.EncodeToString(h.Sum(nil))
}
