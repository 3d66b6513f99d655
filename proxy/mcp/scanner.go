package mcp

import (
	"encoding/binary"
	"math/bits"
	"sync"
)

// scanner reads a message once, by hand: every byte is looked at by what follows and
// by utf8.Valid, and by nothing else. What it accepts and where it finds values is
// compared with jsontext by FuzzScan. Where it refuses, jsontext is asked for the reason.
type scanner struct {
	data  []byte
	names []Span   // of the objects around the place, those of the innermost last
	plain [][]byte // names that are escaped, without that; a span in names with a negative start is one here
	notes []note
	full  bool // there are more members than are noted, or such whose names are escaped

	found envelope
}

// envelope is where the members of a message are.
type envelope struct {
	version, method, id, params, result, err Span

	lookalike *string // of the members beside these, nil without; see Message.Lookalike
}

// within is the object that a noted member is in.
type within uint8

const (
	nowhere within = iota
	inEnvelope
	inParams
	inResult
	inError
	inParamsMeta
	inResultMeta
)

// note is where a member of params, result, error, or _meta in these is, counted from
// the start of params, result or error: so that it stays true if what is around it
// changes.
type note struct {
	in          within
	name, value Span
}

const (
	maxDepth = 10_000
	maxNotes = 24
	// maxNames is how many names of an object are compared one by one. More than that
	// are looked up.
	maxNames = 32
	maxKept  = 1 << 10 // names that a scanner has room for when it is not used
)

var scanners = sync.Pool{New: func() any { return new(scanner) }}

// newScanner returns a scanner of data, which free gives back.
func newScanner(data []byte) *scanner {
	s := scanners.Get().(*scanner)
	s.data = data
	return s
}

func (s *scanner) free() {
	names := s.names[:0]
	if cap(names) > maxKept {
		names = nil
	}
	*s = scanner{names: names, notes: s.notes[:0]}
	scanners.Put(s)
}

// noted are the notes of a message that is all read, to be kept; nil if it has too
// many members for that.
func (s *scanner) noted() []note {
	if s.full || len(s.notes) == 0 {
		return nil
	}
	return append([]note(nil), s.notes...)
}

// whole reads one object and nothing beside it, and reports whether it is one.
func (s *scanner) whole(in within) bool {
	if len(s.data) == 0 || len(s.data) > longest || s.data[0] != '{' {
		return false
	}
	return s.object(0, 1, in, 0) == len(s.data)
}

// invalid is the end of what is not as it must be.
const invalid = -1

// value reads the value at a place, where no white space is, and returns where it ends.
func (s *scanner) value(at, depth int, in within, origin int) int {
	if at >= len(s.data) {
		return invalid
	}
	switch c := s.data[at]; c {
	case '"':
		end, _ := s.text(at + 1)
		return end
	case '{':
		return s.object(at, depth+1, in, origin)
	case '[':
		return s.array(at, depth+1)
	case 't':
		return s.literal(at, "true")
	case 'f':
		return s.literal(at, "false")
	case 'n':
		return s.literal(at, "null")
	default:
		return s.number(at)
	}
}

// object reads the object at a place. Its members are noted as those of in, counted
// from origin.
func (s *scanner) object(at, depth int, in within, origin int) int {
	if depth > maxDepth {
		return invalid
	}
	outer := len(s.names)
	var lookup map[string]struct{}
	at = blank(s.data, at+1)
	if at < len(s.data) && s.data[at] == '}' {
		return at + 1
	}
	for {
		if at >= len(s.data) || s.data[at] != '"' {
			return invalid
		}
		end, escaped := s.text(at + 1)
		if end == invalid {
			return invalid
		}
		name := s.name(span(at+1, end-1), escaped)
		if lookup = s.know(name, outer, lookup); lookup == nil {
			return invalid
		}
		at = blank(s.data, end)
		if at >= len(s.data) || s.data[at] != ':' {
			return invalid
		}
		at = blank(s.data, at+1)
		inner, from := nowhere, 0
		if in != nowhere {
			inner, from = in.inside(s.called(name), at, origin)
		}
		if end = s.value(at, depth, inner, from); end == invalid {
			return invalid
		}
		if in != nowhere {
			s.note(in, name, span(at, end), origin)
		}
		if at = blank(s.data, end); at >= len(s.data) {
			return invalid
		}
		switch s.data[at] {
		case ',':
			at = blank(s.data, at+1)
		case '}':
			s.names = s.names[:outer]
			return at + 1
		default:
			return invalid
		}
	}
}

// name is where a name is that stands between quotes at a place.
func (s *scanner) name(at Span, escaped bool) Span {
	if !escaped {
		return at
	}
	s.plain = append(s.plain, unquote(s.data[at.Start-1:at.End+1]))
	return span(-len(s.plain), 0)
}

// called is a name without quotes and escapes.
func (s *scanner) called(name Span) []byte {
	if name.Start < 0 {
		return s.plain[-name.Start-1]
	}
	return s.data[name.Start:name.End]
}

// few stands for a lookup of names that isn't needed yet.
var few = map[string]struct{}{}

// know notes a name of the object whose names begin at outer; nil if it has it already.
// Names that many are looked up by a hash that nobody can foresee.
func (s *scanner) know(name Span, outer int, lookup map[string]struct{}) map[string]struct{} {
	text := s.called(name)
	names := s.names[outer:]
	if len(names) < maxNames {
		for _, known := range names {
			if string(s.called(known)) == string(text) {
				return nil
			}
		}
		s.names = append(s.names, name)
		return few
	}
	if len(lookup) == 0 {
		lookup = make(map[string]struct{}, 4*maxNames)
		for _, known := range names {
			lookup[string(s.called(known))] = struct{}{}
		}
	}
	if _, ok := lookup[string(text)]; ok {
		return nil
	}
	lookup[string(text)] = struct{}{}
	return lookup
}

// inside is what the value of a member is whose own members are noted, and where it
// counts from.
func (in within) inside(name []byte, at, origin int) (within, int) {
	switch in {
	case inEnvelope:
		switch string(name) {
		case "params":
			return inParams, at
		case "result":
			return inResult, at
		case "error":
			return inError, at
		}
	case inParams:
		if string(name) == "_meta" {
			return inParamsMeta, origin
		}
	case inResult:
		if string(name) == "_meta" {
			return inResultMeta, origin
		}
	}
	return nowhere, 0
}

// note notes a member.
func (s *scanner) note(in within, name, value Span, origin int) {
	switch {
	case in == inEnvelope:
		s.found.note(s.called(name), value)
	case s.full || name.Start < 0 || len(s.notes) == maxNotes:
		s.full = true
	default:
		s.notes = append(s.notes, note{in, name.moved(int32(-origin)), value.moved(int32(-origin))})
	}
}

// note notes a member of the message itself.
func (e *envelope) note(name []byte, value Span) {
	switch string(name) {
	case "jsonrpc":
		e.version = value
	case "method":
		e.method = value
	case "id":
		e.id = value
	case "params":
		e.params = value
	case "result":
		e.result = value
	case "error":
		e.err = value
	default:
		if like(name, ofEnvelope) {
			text := string(name)
			e.lookalike = &text
		}
	}
}

func (s *scanner) array(at, depth int) int {
	if depth > maxDepth {
		return invalid
	}
	at = blank(s.data, at+1)
	if at < len(s.data) && s.data[at] == ']' {
		return at + 1
	}
	for {
		end := s.value(at, depth, nowhere, 0)
		if end == invalid {
			return invalid
		}
		if at = blank(s.data, end); at >= len(s.data) {
			return invalid
		}
		switch s.data[at] {
		case ',':
			at = blank(s.data, at+1)
		case ']':
			return at + 1
		default:
			return invalid
		}
	}
}

// text reads a string from behind its first quote to behind its last one.
//
// It looks at eight bytes at a time: of each, the highest bit of special says whether it
// is a quote, a backslash or a control character. A borrow makes that wrong of bytes above
// such a one alone, and the lowest counts.
func (s *scanner) text(at int) (end int, escaped bool) {
	const (
		each    = 0x0101010101010101
		highest = 0x80 * each
	)
	data := s.data
	for at < len(data) {
		if at+8 <= len(data) {
			eight := binary.LittleEndian.Uint64(data[at:])
			quote, backslash := eight^'"'*each, eight^'\\'*each
			control := (eight - ' '*each) &^ eight
			special := (control | (quote-each)&^quote | (backslash-each)&^backslash) & highest
			if special == 0 {
				at += 8
				continue
			}
			at += bits.TrailingZeros64(special) / 8
		}
		switch c := data[at]; {
		case c == '"':
			return at + 1, escaped
		case c == '\\':
			escaped = true
			n := escape(data[at:])
			if n == 0 {
				return invalid, true
			}
			at += n
		case c < ' ':
			return invalid, escaped
		default:
			at++
		}
	}
	return invalid, escaped
}

// escape returns how long the escape is that text begins with; 0 if there is none.
// Half of a surrogate pair is one: see Parse.
func escape(text []byte) int {
	if len(text) < 2 {
		return 0
	}
	switch text[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(text) < 6 {
			return 0
		}
		for _, c := range text[2:6] {
			if !digit(c) && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return 0
			}
		}
		return 6
	}
	return 0
}

func (s *scanner) literal(at int, text string) int {
	if end := at + len(text); end <= len(s.data) && string(s.data[at:end]) == text {
		return end
	}
	return invalid
}

// number reads a number (RFC 8259, section 6).
func (s *scanner) number(at int) int {
	data := s.data
	if data[at] == '-' {
		at++
	}
	switch {
	case at >= len(data) || !digit(data[at]):
		return invalid
	case data[at] == '0':
		at++
	default:
		at = digits(data, at)
	}
	if at < len(data) && data[at] == '.' {
		from := at + 1
		if at = digits(data, from); at == from {
			return invalid
		}
	}
	if at < len(data) && (data[at] == 'e' || data[at] == 'E') {
		at++
		if at < len(data) && (data[at] == '+' || data[at] == '-') {
			at++
		}
		from := at
		if at = digits(data, from); at == from {
			return invalid
		}
	}
	return at
}

func digits(data []byte, at int) int {
	for at < len(data) && digit(data[at]) {
		at++
	}
	return at
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
