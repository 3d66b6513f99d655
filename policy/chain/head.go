package chain

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"time"
)

// Head names a line of a chain, and with it all lines before. A signed one says
// that they were there at that time.
type Head struct {
	Chain     string    `json:"chain"`
	Sequence  uint64    `json:"sequence"`
	Hash      string    `json:"hash"`                // hexadecimal
	Time      time.Time `json:"time,omitzero"`       // of the signature
	Signature string    `json:"signature,omitempty"` // Ed25519, hexadecimal
}

// Head is the chain's last line, unsigned.
func (c *Chain) Head() Head {
	return Head{Chain: c.ID, Sequence: c.Sequence, Hash: hex.EncodeToString(c.Hash[:])}
}

// Follow makes a chain without lines go on from a head.
func (c *Chain) Follow(h Head) error {
	hash, err := hex.DecodeString(h.Hash)
	if err != nil || len(hash) != len(c.Hash) {
		return fmt.Errorf("follow chain %.64q: its hash is not one", h.Chain)
	}
	copy(c.Hash[:], hash)
	return nil
}

// Sign returns the head signed at a time.
func (h Head) Sign(key ed25519.PrivateKey, now time.Time) Head {
	h.Time = now.UTC()
	h.Signature = hex.EncodeToString(ed25519.Sign(key, h.text()))
	return h
}

// SignedBy reports whether the signature is that key's, and of this head.
func (h Head) SignedBy(key ed25519.PublicKey) bool {
	signature, err := hex.DecodeString(h.Signature)
	return err == nil && ed25519.Verify(key, h.text(), signature)
}

// text is what is signed. No part can hold a line's end but the last.
func (h Head) text() []byte {
	return fmt.Appendf(nil, "mcp-gateway audit head 1\n%q\n%d\n%q\n%s\n", h.Chain, h.Sequence, h.Hash, h.Time.UTC().Format(time.RFC3339Nano))
}
