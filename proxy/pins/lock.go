package pins

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"mcpgateway/proxy/mcp"
)

// Digest is the SHA-256 of a definition in its canonical form. The zero Digest is none.
type Digest [sha256.Size]byte

// String gives the digest in hexadecimal; "none" is the zero one.
func (d Digest) String() string {
	if d == (Digest{}) {
		return "none"
	}
	return hex.EncodeToString(d[:])
}

// MarshalText gives the digest in hexadecimal.
func (d Digest) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(d[:])), nil }

// UnmarshalText reads what MarshalText gives.
func (d *Digest) UnmarshalText(text []byte) error {
	decoded, err := hex.DecodeString(string(text))
	if err != nil || len(decoded) != len(d) {
		return errors.New("a digest has 64 hexadecimal digits")
	}
	copy(d[:], decoded)
	return nil
}

// Canonical returns a tool's definition in the one form that its digest is of: without
// _meta, members in the order of their names, no white space, texts without needless
// escapes, numbers as they were written. Half of a surrogate pair becomes U+FFFD. It
// refuses what is not one JSON object, and names that come twice in an object.
func Canonical(definition []byte) ([]byte, error) {
	object, err := mcp.ParseObject(bytes.Clone(definition))
	if err != nil {
		return nil, err
	}
	canonical := jsontext.Value(mcp.Without(object, "_meta"))
	err = canonical.Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false), jsontext.AllowInvalidUTF8(true))
	return canonical, err
}

// DigestOf returns the digest of a definition. What has no canonical form has the zero
// Digest, which nothing is ever approved by.
func DigestOf(definition []byte) Digest {
	canonical, err := Canonical(definition)
	if err != nil {
		return Digest{}
	}
	return sha256.Sum256(canonical)
}

// Entry is one approved tool.
type Entry struct {
	SHA256     Digest          `json:"sha256"`
	Approved   time.Time       `json:"approved"`
	By         string          `json:"by"`
	Definition json.RawMessage `json:"definition"` // to show what changed; any form that has this digest
}

// Lock is what is approved: entries by server and tool.
type Lock map[string]map[string]Entry

// ParseLock reads a lock file. An empty one approves nothing. It refuses members that
// it does not know, and an entry whose definition is not the one that was approved.
func ParseLock(content []byte) (Lock, error) {
	lock := Lock{}
	if len(bytes.TrimSpace(content)) == 0 {
		return lock, nil
	}
	if _, err := mcp.ParseObject(bytes.Clone(content)); err != nil { // of names that come twice, encoding/json takes the last
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&lock); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("text after the object")
	}
	for server, tools := range lock {
		for tool, entry := range tools {
			if err := entry.check(tool); err != nil {
				return nil, fmt.Errorf("tool %.100q of server %.100q: %w", tool, server, err)
			}
		}
	}
	return lock, nil
}

func (e Entry) check(tool string) error {
	switch name, ok := NameOf(e.Definition); {
	case e.SHA256 == Digest{} || DigestOf(e.Definition) != e.SHA256:
		return errors.New("sha256 is not that of the definition: the file was edited by hand, approve the tool again")
	case !ok || name != tool:
		return fmt.Errorf("the definition is of a tool with another name, %.100q", name)
	}
	return nil
}

// NameOf is the name in a definition that was checked, as a part of a message is; ok is
// false without one.
func NameOf(definition []byte) (name string, ok bool) {
	return mcp.TextOf(mcp.Member(definition, "name"))
}
