package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"

	"mcpgateway/policy/chain"
)

// line is a line of a log, taken apart.
type line struct {
	sequence uint64
	prev     string // hexadecimal, as hash is
	hash     string
	whole    bool // the hash is that of the text
	members  []byte
}

// tail is what a line ends with, and how long it is without its line's end.
const tailLength = len(chain.LineHash) + chain.HashLength + len(chain.LineEnd) - 1

var errForm = errors.New("it is no record")

// parse takes a line apart, without its end. An error says that it is no record at all.
func parse(text []byte) (line, error) {
	rest, ok := bytes.CutPrefix(text, []byte(chain.LineStart))
	if !ok || len(rest) < tailLength {
		return line{}, errForm
	}
	tail := string(rest[len(rest)-tailLength:])
	hash, start := strings.CutPrefix(tail, chain.LineHash)
	hash, end := strings.CutSuffix(hash, strings.TrimSuffix(chain.LineEnd, "\n"))
	digits, rest, comma := bytes.Cut(rest[:len(rest)-tailLength], []byte(chain.LinePrev))
	sequence, err := strconv.ParseUint(string(digits), 10, 64)
	if !start || !end || !comma || !isHash(hash) || err != nil || strconv.FormatUint(sequence, 10) != string(digits) {
		return line{}, errForm
	}
	prev, members, ok := strings.Cut(string(rest), `",`)
	if !ok || !isHash(prev) {
		return line{}, errForm
	}
	sum := sha256.Sum256(text[:len(text)-tailLength])
	return line{sequence, prev, hash, hex.EncodeToString(sum[:]) == hash, []byte(members)}, nil
}

// isHash reports whether text is a hash in hexadecimal digits, as it is written.
func isHash(text string) bool {
	return len(text) == chain.HashLength && strings.Trim(text, "0123456789abcdef") == ""
}

// event is what the verifier looks at of records about the log itself.
type event struct {
	Event string      `json:"event"`
	Log   string      `json:"log"`
	Chain string      `json:"chain"`
	After *chain.Head `json:"after"`
	Head  *chain.Head `json:"head"`
	File  string      `json:"file"`
}

// event decodes a record about the log itself; the zero event is any other. What
// clients wrote can't look like one: its quotes are escaped, or it is a member of
// arguments, which decoding tells apart.
func (l line) event() (e event) {
	for _, name := range []string{chain.EventOpened, chain.EventCheckpoint, chain.EventRotated, chain.EventDeleted} {
		if bytes.Contains(l.members, []byte(`"event":"`+name+`"`)) {
			text := append(append([]byte("{"), l.members...), '}')
			if json.Unmarshal(text, &e) != nil || e.Event != name || !isName(e.Chain) {
				return event{}
			}
			return e
		}
	}
	return event{}
}

// isName reports whether text may be what a chain is called, or nothing: it is shown on
// terminals, and a captured proxy may have written it.
func isName(text string) bool {
	return len(text) <= 64 && strings.Trim(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_") == ""
}

// isTorn reports whether text may be the beginning of a line whose end a crash
// kept from the disk.
func isTorn(text []byte) bool {
	if len(text) == 0 {
		return false
	}
	if i := bytes.LastIndex(text, []byte(chain.LineHash)); i >= 0 {
		hash, quote := bytes.CutSuffix(text[i+len(chain.LineHash):], []byte(`"`))
		if len(hash) > chain.HashLength || strings.Trim(string(hash), "0123456789abcdef") != "" || quote && len(hash) != chain.HashLength {
			return false
		}
	}
	start := chain.LineStart
	if len(text) <= len(start) {
		return strings.HasPrefix(start, string(text))
	}
	var value json.RawMessage
	err := json.NewDecoder(bytes.NewReader(text)).Decode(&value)
	return bytes.HasPrefix(text, []byte(start)) && errors.Is(err, io.ErrUnexpectedEOF)
}
