// Package logbook keeps the audit log for the daemon: it makes, rotates and
// deletes the files, hands the proxy a descriptor of its one, signs the heads
// that the proxy names by numbers and hashes, and writes the daemon's own records
// to a second file. It never reads the proxy's file: clients and servers wrote
// what is in it.
//
// Runs in: daemon, CLI (names and keys).
package logbook

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"mcpgateway/policy/chain"
)

const (
	checkpointInterval = 10 * time.Second
	syncInterval       = time.Second
	cleanInterval      = time.Hour
	maxWaiting         = 256 // own records that can't be written yet; more are lost
	complainPause      = time.Minute

	// A captured proxy must not wear out the disk by having heads signed.
	signBurst  = 20
	signPerSec = 5

	// Nor fill the log with what was refused.
	refusedBurst  = 20
	refusedPerSec = 1
)

// Errors of what a proxy asks for.
var (
	errOff      = errors.New("nothing is audited")
	errStale    = errors.New("another proxy has the audit log now")
	errBack     = errors.New("the audit log can't go back")
	errHash     = errors.New("a hash has 64 hexadecimal digits")
	errTooSmall = errors.New("the audit log is not as large yet as it may be")
	errTooOften = errors.New("too many heads were signed in a short while")
)

// Book is the daemon's side of the audit log. It is off until Use. Its methods
// may be called concurrently.
type Book struct {
	state   string
	told    func(line []byte) // of each own record; must not wait
	signing *rate.Limiter
	refused *rate.Limiter

	mu     sync.Mutex
	key    ed25519.PrivateKey // nil until something is audited
	place  *place             // nil: off
	next   *place             // what Use makes the place
	calls  chain.Head         // what the proxy's chain is called, and how far it was signed
	number uint64             // of the last handover
	heads  Heads

	file       *os.File // of own records
	size       int64
	own        chain.Batch
	lost       int
	suppressed int
	failing    error
	complained time.Time
	unsynced   bool
	unsigned   time.Time // since when; zero: not
}

// New returns a book that keeps its key and its signed heads in a folder. told gets
// each own record as it is written, a line without its end, and must not wait.
func New(state string, told func(line []byte)) *Book {
	return &Book{state: state, told: told, signing: rate.NewLimiter(signPerSec, signBurst), refused: rate.NewLimiter(refusedPerSec, refusedBurst)}
}

// Prepare opens what the log shall be kept in, so that Use can't fail for want of
// it. It also makes the key, if there is none.
func (b *Book) Prepare(s Settings) (err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next.Close()
	b.next = nil
	if s.File == "" {
		return nil
	}
	if b.key == nil {
		if b.heads, err = ReadHeads(b.state); err != nil {
			return err
		}
		if b.key, err = loadKey(b.state); err != nil {
			return err
		}
	}
	if b.next, err = openPlace(s); err != nil {
		return err
	}
	if s.File != b.heads.Calls.File { // what is there is of another log, or of another time
		return b.next.clear(time.Now())
	}
	return nil
}

// Use makes what was prepared last the log's from now on.
func (b *Book) Use() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := b.next
	b.next = nil
	if next != nil && b.place != nil && next.File == b.place.File {
		b.place.Settings = next.Settings
		next.Close()
		return nil
	}
	if next == nil {
		b.recordLocked("audit-off", time.Now())
	}
	b.shutLocked()
	if next == nil {
		return nil
	}
	file, err := next.open(next.own)
	if err != nil {
		next.Close()
		return err
	}
	b.place = next
	now := time.Now()
	b.openLocked(file, now)
	return b.saveLocked(now)
}

// Begin starts a chain for a new proxy. other says that the one before may still
// be writing: then its file is put aside.
func (b *Book) Begin(other bool) (id string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = chain.Head{Chain: chain.NewID()}
	if size, _ := b.sizeLocked(); other && size > 0 {
		file, err := b.rotateLocked(time.Now(), b.heads.Calls.Head)
		if err != nil {
			return "", fmt.Errorf("part the audit logs of two proxies: %w", err)
		}
		file.Close()
	}
	return b.calls.Chain, nil
}

// Handover is a file for the proxy, and where its chain goes on from.
type Handover struct {
	File   *os.File
	Number uint64 // higher than those of the handovers before
	After  *chain.Head
}

// Handover opens the proxy's log, which is the one in use or the one that was
// prepared.
func (b *Book) Handover(log string) (Handover, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range []*place{b.next, b.place} {
		if p != nil && p.File == log {
			file, err := p.open(p.calls)
			if err != nil {
				return Handover{}, err
			}
			return b.handoverLocked(file, b.heads.Calls.Head), nil
		}
	}
	return Handover{}, errOff
}

func (b *Book) handoverLocked(file *os.File, after *chain.Head) Handover {
	b.number++
	return Handover{file, b.number, after}
}

// Checkpoint signs a head of the proxy's chain.
func (b *Book) Checkpoint(head chain.Head) (chain.Head, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.signLocked(head, time.Now())
}

func (b *Book) signLocked(head chain.Head, now time.Time) (chain.Head, error) {
	hash, err := hex.DecodeString(head.Hash)
	switch {
	case b.key == nil:
		return chain.Head{}, errOff
	case head.Chain != b.calls.Chain:
		return chain.Head{}, errStale
	case head.Sequence == 0 || head.Sequence < b.calls.Sequence || head.Sequence == b.calls.Sequence && head.Hash != b.calls.Hash:
		b.refusedLocked("checkpoint-refused", now, "sequence", head.Sequence, "signed", b.calls.Sequence)
		return chain.Head{}, errBack
	case err != nil || len(hash) != chain.HashLength/2 || hex.EncodeToString(hash) != head.Hash:
		return chain.Head{}, errHash
	case !b.signing.Allow():
		return chain.Head{}, errTooOften
	}
	b.calls = head
	signed := head.Sign(b.key, now)
	b.heads.Calls.Head = &signed
	b.recordLocked(chain.EventCheckpoint, now, "log", chain.Calls, "head", signed)
	return signed, b.saveLocked(now)
}

// Rotate signs the head that the proxy's file ends with, puts it aside, and opens
// another.
func (b *Book) Rotate(head chain.Head) (Handover, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.place == nil {
		return Handover{}, errOff
	}
	if size, err := b.sizeLocked(); err != nil || size < b.place.MaxSize {
		return Handover{}, errors.Join(errTooSmall, err)
	}
	now := time.Now()
	signed, err := b.signLocked(head, now)
	if err != nil {
		return Handover{}, err
	}
	file, err := b.rotateLocked(now, &signed)
	if err != nil {
		return Handover{}, fmt.Errorf("rotate audit log: %w", err)
	}
	return b.handoverLocked(file, &signed), nil
}

// sizeLocked is that of the proxy's file.
func (b *Book) sizeLocked() (int64, error) {
	if b.place == nil {
		return 0, nil
	}
	return b.place.size(b.place.calls)
}

func (b *Book) rotateLocked(now time.Time, head *chain.Head) (*os.File, error) {
	file, name, err := b.place.putAside(b.place.calls, now)
	if err != nil {
		return nil, err
	}
	b.recordLocked(chain.EventRotated, now, "file", b.path(name), "head", head)
	b.cleanLocked(b.place.calls, now)
	return file, nil
}

// path is a file of the place's folder, for records.
func (b *Book) path(name string) string { return filepath.Join(b.place.dir.Name(), name) }

// cleanLocked deletes the backups of a file that need not be kept.
func (b *Book) cleanLocked(name string, now time.Time) {
	expired, err := b.place.expired(name, now)
	for _, old := range expired {
		if err = b.place.remove(old.name); err != nil {
			break
		}
		b.recordLocked(chain.EventDeleted, now, "file", b.path(old.name))
	}
	if err != nil {
		slog.Error("delete old audit logs", "err", err)
	}
}

// Run has on the disk what was recorded, and signs it, until ctx ends.
func (b *Book) Run(ctx context.Context) {
	tick := time.NewTicker(syncInterval)
	defer tick.Stop()
	clean := time.NewTicker(cleanInterval)
	defer clean.Stop()
	for {
		select {
		case <-tick.C:
			b.mu.Lock()
			b.tickLocked(time.Now())
			b.mu.Unlock()
		case <-clean.C:
			b.mu.Lock()
			if b.place != nil {
				b.cleanLocked(b.place.calls, time.Now())
				b.cleanLocked(b.place.own, time.Now())
			}
			b.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

// Close signs and closes the log.
func (b *Book) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next.Close()
	b.next = nil
	b.shutLocked()
}

// saveLocked signs the newest own head, and writes both to the state folder.
func (b *Book) saveLocked(now time.Time) error {
	if b.own.Empty() && b.own.Sequence > 0 {
		signed := b.own.Head().Sign(b.key, now)
		b.heads.Own.Head, b.unsigned = &signed, time.Time{}
		b.syncLocked(now)
	}
	if b.place != nil {
		b.heads.Calls.File, b.heads.Own.File = b.place.File, b.path(b.place.own)
	}
	content, err := json.Marshal(b.heads)
	if err == nil {
		err = replace(filepath.Join(b.state, HeadsFile), 0o644, append(content, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write signed heads: %w", err)
	}
	return nil
}
