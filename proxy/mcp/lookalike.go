package mcp

import "strings"

// Lookalike is a name in a request or notification that differs from one of the
// protocol's in case alone, "" for none. Programs that don't mind the case, as Go's
// encoding/json does not, take it for that one, and so see another method, tool or
// resource than this package does.
func (m Message) Lookalike() string {
	if m.lookalike != "" {
		return m.lookalike
	}
	if name := lookalike(m.Params(), "name", "arguments", "uri", "ref", "notifications", "_meta", "task", "requestId", "requestState", "inputResponses"); name != "" {
		return name
	}
	for _, part := range [...]struct {
		of    string
		names []string
	}{
		{"ref", []string{"type", "name", "uri"}},
		{"notifications", []string{"resourceSubscriptions"}},
		{"_meta", []string{"progressToken"}},
	} {
		if name := lookalike(m.At(m.Param(part.of)), part.names...); name != "" {
			return name
		}
	}
	return ""
}

// lookalike finds the first member of an object that is like one of names.
func lookalike(object []byte, names ...string) string {
	for found := range members(object) {
		text := string(unquote(found.of(object)))
		if like(text, names...) {
			return text
		}
	}
	return ""
}

// like reports whether a name differs from one of others in case alone: also by the
// long s or the sign of the Kelvin, whose capitals are letters of ASCII.
func like(name string, others ...string) bool {
	for _, other := range others {
		if name != other && strings.EqualFold(name, other) {
			return true
		}
	}
	return false
}
