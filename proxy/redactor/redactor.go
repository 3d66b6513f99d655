// Package redactor finds in what a server says the secrets that it was given, and
// takes them out. It knows them by a redact.Matcher only. It finds them as they
// are, and written as JSON, base64, hexadecimal digits or percent-encoded; it does
// not find parts of them, nor what was encoded in another way.
//
// Runs in: proxy.
package redactor

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"math/bits"
	"slices"
	"sync"

	"mcpgateway/policy/redact"
)

const (
	// Mark is what stands in the place of a secret.
	Mark = "[redacted]"

	maxLength = 64 << 10 // of a secret, in bytes
	maxPrints = 4096
	// maxFound bounds what is taken out of one line. One with more is taken out whole.
	maxFound = 1 << 16
	// longestWriting is how many times as long as the secret itself a way to write it
	// may be: "\\u0041" is 7.
	longestWriting = 8
	// chunk is how much of a line is looked at in one go, at least.
	chunk = 64 << 10
)

// Redactor takes the secrets of one server out of texts. A nil Redactor leaves all
// as it is. Its methods may be called concurrently.
type Redactor struct {
	table   *redact.Table
	lengths []length // the shortest first
	overlap int      // the longest that a secret may be written, in bytes
	scans   sync.Pool
	macs    sync.Pool
}

// length is the secrets of one length.
type length struct {
	size  int
	known [1 << redact.Bits / 64]uint64 // a bit for each fingerprint
	macs  [][]byte
}

// New returns the Redactor of a Matcher, which may be nil.
func New(m *redact.Matcher) (*Redactor, error) {
	if m == nil {
		return nil, nil
	}
	if len(m.Salt) != redact.SaltSize || len(m.Prints) == 0 || len(m.Prints) > maxPrints {
		return nil, errors.New("a matcher of secrets needs a salt of 32 bytes and 1 to 4096 prints")
	}
	r := &Redactor{table: m.Table()}
	for _, p := range m.Prints {
		if p.Length < redact.Shortest || p.Length > maxLength || len(p.MAC) != redact.MACSize {
			return nil, fmt.Errorf("a print of %d bytes with a MAC of %d can't be", p.Length, len(p.MAC))
		}
		i, found := slices.BinarySearchFunc(r.lengths, p.Length, func(l length, size int) int { return l.size - size })
		if !found {
			r.lengths = slices.Insert(r.lengths, i, length{size: p.Length})
		}
		l := &r.lengths[i]
		l.known[p.Hash/64] |= 1 << (p.Hash % 64)
		l.macs = append(l.macs, p.MAC)
	}
	r.overlap = longestWriting*r.lengths[len(r.lengths)-1].size + 64
	r.scans.New = func() any { return new(scan) }
	salt := bytes.Clone(m.Salt)
	r.macs.New = func() any { return hmac.New(sha256.New, salt) }
	return r, nil
}

// Longest is the most bytes that a text may have which stands for one secret; 0 if
// there are none.
func (r *Redactor) Longest() int {
	if r == nil {
		return 0
	}
	return r.overlap
}

// Message returns a line with Mark in the place of each secret, and how many
// there were. JSON stays JSON: within a string the string's part is replaced, and a
// number that is secret becomes a string. Without any it is the line itself.
func (r *Redactor) Message(line []byte) ([]byte, int) {
	found, n := r.find(line)
	switch {
	case n == 0:
		return line, 0
	case n > maxFound:
		return []byte(Mark), n
	}
	if head := bytes.TrimLeft(line, " \t"); len(head) > 0 && (head[0] == '{' || head[0] == '[') {
		return replaceInJSON(line, found), n
	}
	return replace(make([]byte, 0, len(line)), line, 0, len(line), found), n
}

// Text is Message for what is not JSON.
func (r *Redactor) Text(text []byte) ([]byte, int) {
	found, n := r.find(text)
	switch {
	case n == 0:
		return text, 0
	case n > maxFound:
		return []byte(Mark), n
	}
	return replace(make([]byte, 0, len(text)), text, 0, len(text), found), n
}

// find returns where secrets are in a text: in order, none touching another.
func (r *Redactor) find(text []byte) ([]span, int) {
	if r == nil || len(text) < r.lengths[0].size {
		return nil, 0
	}
	s := r.scans.Get().(*scan)
	defer r.release(s)
	s.Redactor, s.found = r, s.found[:0]
	// In parts, so that the memory for decoding is bounded. Each secret is whole in one.
	step := max(chunk, 2*r.overlap)
	for at := 0; ; {
		end := min(len(text), at+step+r.overlap)
		s.part(text[at:end], at)
		if end == len(text) || len(s.found) > maxFound {
			break
		}
		at = end - r.overlap
		for back := 0; back < 32 && at > 0 && text[at-1] == '\\'; back++ {
			at--
		}
	}
	switch {
	case len(s.found) == 0:
		return nil, 0
	case len(s.found) > maxFound:
		return nil, len(s.found)
	}
	found := slices.Clone(merge(s.found))
	return found, len(found)
}

func (r *Redactor) release(s *scan) {
	s.wipe()
	r.scans.Put(s)
}

// merge sorts spans and makes one of those that overlap or touch.
func merge(found []span) []span {
	slices.SortFunc(found, func(a, b span) int { return int(a.start) - int(b.start) })
	merged := found[:1]
	for _, next := range found[1:] {
		last := &merged[len(merged)-1]
		if next.start <= last.end {
			last.end = max(last.end, next.end)
			continue
		}
		merged = append(merged, next)
	}
	return merged
}

// roll calls each for every secret of text, until it says that it has enough.
func (r *Redactor) roll(text []byte, each func(start, end int) bool) {
	for i := range r.lengths {
		l := &r.lengths[i]
		for at := l.next(r, text, 0); at >= 0; at = l.next(r, text, at+1) {
			if !each(at, at+l.size) {
				return
			}
		}
	}
}

// next returns where the next secret of this length begins, not before from; -1
// without one.
func (l *length) next(r *Redactor, text []byte, from int) int {
	if len(text)-from < l.size {
		return -1
	}
	var sum uint64
	for _, c := range text[from : from+l.size] {
		sum = r.table.Add(sum, c)
	}
	old := text[from:]
	for i, in := range text[from+l.size:] {
		if l.known[uint16(sum)/64]>>(sum%64)&1 != 0 && l.holds(r, old[i:i+l.size]) {
			return from + i
		}
		sum = r.table.Add(sum, in) ^ bits.RotateLeft64(r.table[old[i]], l.size)
	}
	if last := len(text) - l.size; l.known[uint16(sum)/64]>>(sum%64)&1 != 0 && l.holds(r, text[last:]) {
		return last
	}
	return -1
}

// holds reports whether text is one of the secrets.
func (l *length) holds(r *Redactor, text []byte) bool {
	mac := r.macs.Get().(hash.Hash)
	defer r.macs.Put(mac)
	mac.Reset()
	mac.Write(text)
	var sum [sha256.Size]byte
	got := mac.Sum(sum[:0])[:redact.MACSize]
	forget(mac)
	for _, known := range l.macs {
		if bytes.Equal(known, got) {
			return true
		}
	}
	return false
}

// forget overwrites what a hash keeps of what it was given, on the stack, too.
func forget(mac hash.Hash) {
	var nothing [sha256.BlockSize]byte
	mac.Reset()
	mac.Write(nothing[:])
	var sum [sha256.Size]byte
	mac.Sum(sum[:0])
}
