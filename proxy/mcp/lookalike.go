package mcp

import (
	"strings"
	"unicode/utf8"
)

// Names that have a meaning: in a message, in params, and in some of the objects there.
var (
	ofEnvelope = []string{"jsonrpc", "method", "id", "params", "result", "error"}
	ofParams   = []string{"name", "arguments", "uri", "ref", "notifications", "_meta", "task", "requestId", "requestState", "inputResponses"}
	ofMeta     = []string{"progressToken"}
	ofRef      = []string{"type", "name", "uri"}
	ofFilter   = []string{"resourceSubscriptions"}
)

// Lookalike is a name in a request or notification that differs from one of the
// protocol's in case alone, "" for none. Programs that don't mind the case, as Go's
// encoding/json does not, take it for that one, and so see another method, tool or
// resource than this package does.
func (m Message) Lookalike() string {
	if m.lookalike != nil {
		return *m.lookalike
	}
	name, found := m.notedLookalike()
	if !found && m.notes == nil {
		if name, found = lookalike(m.Params(), ofParams); !found {
			name, found = lookalike(m.At(m.Param("_meta")), ofMeta)
		}
	}
	if !found {
		name, found = lookalike(m.At(m.Param("ref")), ofRef)
	}
	if !found {
		name, _ = lookalike(m.At(m.Param("notifications")), ofFilter)
	}
	return name
}

// notedLookalike finds the first of the noted members that is like one with a meaning.
func (m *Message) notedLookalike() (name string, found bool) {
	params := m.Params()
	for i := range m.notes {
		n := &m.notes[i]
		switch {
		case n.in == inParams && like(n.name.of(params), ofParams), n.in == inParamsMeta && like(n.name.of(params), ofMeta):
			return string(n.name.of(params)), true
		}
	}
	return "", false
}

// lookalike finds the first member of an object that is like one of names.
func lookalike(object []byte, names []string) (name string, found bool) {
	for quoted := range members(object) {
		if text := unquote(quoted.of(object)); like(text, names) {
			return string(text), true
		}
	}
	return "", false
}

// like reports whether a name differs from one of others in case alone: also by the
// long s or the sign of the Kelvin, whose capitals are letters of ASCII and which have
// two bytes and three.
func like(name []byte, others []string) bool {
	for _, other := range others {
		if len(name) < len(other) || len(name) > utf8.UTFMax*len(other) || string(name) == other {
			continue
		}
		if first := name[0]; first < utf8.RuneSelf && first|0x20 != other[0]|0x20 {
			continue
		}
		if strings.EqualFold(string(name), other) {
			return true
		}
	}
	return false
}
