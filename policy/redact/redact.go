// Package redact makes of secret texts what recognises them again and does not hold
// them. The proxy gets a Matcher of each server's secrets, and package
// proxy/redactor finds by it what the server says of them.
//
// Whoever has a Matcher can try guesses, as fast as HMAC-SHA256 allows: a text that
// can be guessed is not protected by it. Beyond that it tells the length of each
// text, and Bits of it by its fingerprint. These are few on purpose: a fingerprint
// that rolls is linear in the text, so that its bits can be solved for and not only
// guessed at. A text has one, whatever ways there are to write it.
//
// Runs in: daemon (New), proxy.
package redact

import (
	"crypto/hmac"
	"crypto/sha256"
	"math/bits"
	random "math/rand/v2"
	"slices"
	"strings"
)

const (
	// Shortest is the length in bytes of the shortest text that a Matcher knows:
	// shorter ones are found by chance, and by trying all.
	Shortest = 8
	// ShortestLine is that of the lines of a text that has several: a key in PEM, say,
	// of which programs show a line at a time.
	ShortestLine = 16
	// Bits of a fingerprint.
	Bits = 16
	// MACSize is the length in bytes of a Print's MAC.
	MACSize = 16
	// SaltSize is that of ChaCha8's seed, which the rolling hash is made of.
	SaltSize = 32
)

// Matcher is what recognises some texts. It is immutable.
type Matcher struct {
	Salt   []byte  `json:"salt"` // random, SaltSize bytes
	Prints []Print `json:"prints"`
}

// Print is what is known of one text.
type Print struct {
	Length int    `json:"length"` // in bytes, at least Shortest
	Hash   uint16 `json:"hash"`   // Table.Hash of the text
	MAC    []byte `json:"mac"`    // HMAC-SHA256 of the text by the salt, the first MACSize bytes
}

// New returns a Matcher of texts and of their lines, without those that are too
// short; nil if there are no others. The salt is random, and no other server's: what
// the Matchers of two servers have in common would tell that their secrets are the same.
func New(salt [SaltSize]byte, texts []string) *Matcher {
	m := &Matcher{Salt: salt[:]}
	table := m.Table()
	known := make(map[string]bool)
	add := func(text string, shortest int) {
		if len(text) < shortest || known[text] {
			return
		}
		known[text] = true
		m.Prints = append(m.Prints, Print{len(text), table.Hash([]byte(text)), m.MAC([]byte(text))})
	}
	for _, text := range texts {
		add(text, Shortest)
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != text && !strings.HasPrefix(line, "-----") {
				add(line, ShortestLine)
			}
		}
	}
	if len(m.Prints) == 0 {
		return nil
	}
	// Not in the order of the texts: which is whose is nobody's business.
	slices.SortFunc(m.Prints, func(a, b Print) int { return slices.Compare(a.MAC, b.MAC) })
	return m
}

// MAC is the part of a text's HMAC that a Print has.
func (m *Matcher) MAC(text []byte) []byte {
	mac := hmac.New(sha256.New, m.Salt)
	mac.Write(text)
	return mac.Sum(nil)[:MACSize]
}

// Table is a rolling hash: cyclic polynomials (Cohen 1997) over random words.
type Table [256]uint64

// Table makes the hash of the salt, which must have its length.
func (m *Matcher) Table() *Table {
	source := random.NewChaCha8([SaltSize]byte(m.Salt))
	t := new(Table)
	for i := range t {
		t[i] = source.Uint64()
	}
	return t
}

// Add rolls a byte in.
func (t *Table) Add(sum uint64, in byte) uint64 { return bits.RotateLeft64(sum, 1) ^ t[in] }

// Hash is the fingerprint of a text.
func (t *Table) Hash(text []byte) uint16 {
	var sum uint64
	for _, c := range text {
		sum = t.Add(sum, c)
	}
	return uint16(sum)
}
