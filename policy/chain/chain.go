// Package chain is the form of an audit log: lines of JSON, each of which names
// the one before by its hash, so that none can be changed, removed or moved
// without a trace, and signed heads, so that the last ones can't either. It
// opens no file; policy/verify reads what it writes.
//
// Runs in: daemon, proxy, CLI.
package chain

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"
)

// The parts of a line that are the same in each:
//
//	{"seq":7,"prev":"<hash of the line before>",…,"hash":"<hash of this one>"}
//
// A line's hash is the SHA-256 of all that stands before `,"hash":`.
const (
	LineStart  = `{"seq":`
	LinePrev   = `,"prev":"`
	LineHash   = `,"hash":"`
	LineEnd    = "\"}\n"
	HashLength = 2 * sha256.Size // in hexadecimal digits
)

// The events of lines that are about the log itself.
const (
	EventOpened     = "log-opened"  // the first line of a file, and of a chain
	EventCheckpoint = "checkpoint"  // a signed head, in the daemon's log
	EventRotated    = "log-rotated" // a file was put aside, in the daemon's log
	EventDeleted    = "log-deleted" // and deleted, as max_backups or max_age_days say
	EventGap        = "gap"         // records were lost because nothing could be written
)

// The two logs.
const (
	Calls  = "calls"  // what the proxy writes
	Daemon = "daemon" // what the daemon writes
)

// Chain is a chain that grows. A new one has an id, and the hash of the head that
// it goes on from, if there is one.
type Chain struct {
	ID       string
	Sequence uint64 // of the last line; 0: there is none
	Hash     [sha256.Size]byte
}

// NewID returns an id that no other chain has.
func NewID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	return hex.EncodeToString(id[:])
}

// Append appends the next line to dst. members are those of a JSON object,
// without braces, at least one.
func (c *Chain) Append(dst, members []byte) []byte {
	c.Sequence++
	start := len(dst)
	dst = append(dst, LineStart...)
	dst = strconv.AppendUint(dst, c.Sequence, 10)
	dst = append(dst, LinePrev...)
	dst = hex.AppendEncode(dst, c.Hash[:])
	dst = append(dst, `",`...)
	dst = append(dst, members...)
	c.Hash = sha256.Sum256(dst[start:])
	dst = append(dst, LineHash...)
	dst = hex.AppendEncode(dst, c.Hash[:])
	return append(dst, LineEnd...)
}

// AppendOpened appends the line that a file begins with, and that a chain does. A
// file that is not empty gets an empty line before it: if a crash left half a
// line, this ends it. after is the head that was signed last, nil for none.
func (c *Chain) AppendOpened(dst []byte, log string, now time.Time, after *Head, fileIsEmpty bool) []byte {
	members, _ := json.Marshal(Opened{Event: EventOpened, Time: now.UTC(), Log: log, Chain: c.ID, After: after}) // it can always be marshalled
	if !fileIsEmpty {
		dst = append(dst, '\n')
	}
	return c.Append(dst, members[1:len(members)-1])
}

// Opened is a line of EventOpened.
type Opened struct {
	Event string    `json:"event"`
	Time  time.Time `json:"time"`
	Log   string    `json:"log"`
	Chain string    `json:"chain"`
	After *Head     `json:"after,omitempty"`
}
