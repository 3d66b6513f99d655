package mcp

import (
	"bytes"
	"iter"
)

// Span is a range of a message's bytes. The zero Span is an absent value.
type Span struct{ Start, End int32 }

// longest is the longest message: a Span's int32 must do, for what is added to it, too.
const longest = 1 << 30

func span(start, end int) Span { return Span{int32(start), int32(end)} }

func (s Span) moved(by int32) Span { return Span{s.Start + by, s.End + by} }

// Empty reports whether there is no value.
func (s Span) Empty() bool { return s.End == 0 }

func (s Span) of(raw []byte) []byte { return raw[s.Start:s.End:s.End] }

// At returns the raw value at a span of this message; nil if the span is empty.
func (m Message) At(s Span) []byte {
	if s.Empty() {
		return nil
	}
	return s.of(m.raw)
}

// Param finds a value inside params by the names of the objects around it and
// its own.
func (m Message) Param(path ...string) Span { return m.find(m.params, inParams, inParamsMeta, path) }

// InResult finds a value inside the result.
func (m Message) InResult(path ...string) Span {
	return m.find(m.result, inResult, inResultMeta, path)
}

// InError finds a value inside the error.
func (m Message) InError(path ...string) Span { return m.find(m.err, inError, nowhere, path) }

// find finds a value in a part of the message, of which members are noted, and those of
// its _meta.
func (m *Message) find(part Span, in, meta within, path []string) Span {
	at := part
	if m.notes != nil && len(path) > 0 {
		first := path[0]
		at, path = m.noted(part, in, first), path[1:]
		if first == "_meta" && meta != nowhere && len(path) > 0 && !at.Empty() {
			at, path = m.noted(part, meta, path[0]), path[1:]
		}
	}
	if at.Empty() || len(path) == 0 {
		return at
	}
	found := Find(m.At(at), path...)
	if found.Empty() {
		return Span{}
	}
	return found.moved(at.Start)
}

// noted finds a member that was noted, of a part of the message or of an object in it.
func (m *Message) noted(part Span, in within, name string) Span {
	if part.Empty() {
		return Span{}
	}
	raw := part.of(m.raw)
	for i := range m.notes {
		if n := &m.notes[i]; n.in == in && string(n.name.of(raw)) == name {
			return n.value.moved(part.Start)
		}
	}
	return Span{}
}

// Find finds a value inside an object that was already checked, such as a part of
// a Message, by the names of the objects around it and its own.
func Find(object []byte, path ...string) Span {
	in := span(0, len(object))
	for _, name := range path {
		found, ok := member(object[in.Start:in.End], name)
		if !ok {
			return Span{}
		}
		in = found.moved(in.Start)
	}
	return in
}

// Text returns the string at a span; ok is false if there is none.
func (m Message) Text(s Span) (text string, ok bool) {
	return TextOf(m.At(s))
}

// Members gives the members of an object that was already checked, such as a
// part of a Message: names decoded, values raw. Of anything else it gives none.
func Members(object []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for name, value := range members(object) {
			if !yield(nameOf(name.of(object)), value.of(object)) {
				return
			}
		}
	}
}

// ofResults are names that results mostly have, by which they are found without a copy.
var ofResults = map[string]string{
	"content": "content", "structuredContent": "structuredContent", "isError": "isError", "_meta": "_meta", "resultType": "resultType",
	"ttlMs": "ttlMs", "cacheScope": "cacheScope", "type": "type", "text": "text",
}

// nameOf is a name that is quoted.
func nameOf(quoted []byte) string {
	name := unquote(quoted)
	if known, ok := ofResults[string(name)]; ok {
		return known
	}
	return string(name)
}

func member(object []byte, name string) (Span, bool) {
	for found, value := range members(object) {
		if string(unquote(found.of(object))) == name {
			return value, true
		}
	}
	return Span{}, false
}

// WithID returns the message with another raw id. The message must have an id.
func (m Message) WithID(id []byte) Message { return m.Replace(m.id, id) }

// Readdressed is WithID for a message of which nobody has a part and which is not used
// any more: if there is room, its bytes become those of the new one.
func (m Message) Readdressed(id []byte) Message {
	start, end := int(m.id.Start), int(m.id.End)
	delta := len(id) - (end - start)
	switch {
	case delta > cap(m.raw)-len(m.raw):
		return m.WithID(id)
	case delta <= 0 && start <= len(m.raw)-end: // there is less before it than behind
		copy(m.raw[-delta:], m.raw[:start])
		m.raw = m.raw[-delta:]
	default:
		old := m.raw
		m.raw = m.raw[:len(old)+delta]
		copy(m.raw[end+delta:], old[end:])
	}
	copy(m.raw[start:], id)
	m.shift(start, end, delta)
	return m
}

// InSubscription returns a notification that names the subscription it is of, by the
// raw id of the request that opened it (2026-07-28, basic/patterns/subscriptions).
func (m Message) InSubscription(id []byte) Message {
	member := append([]byte(`"`+MetaSubscription+`":`), id...)
	if named := m.Param("_meta", MetaSubscription); !named.Empty() {
		return m.Replace(named, id)
	}
	if meta := m.Param("_meta"); kindAt(m.At(meta)) == '{' {
		return m.Insert(meta, member)
	}
	meta := append(append([]byte(`"_meta":{`), member...), '}')
	if kindAt(m.Params()) == '{' {
		return m.Insert(m.params, meta)
	}
	return NewRequest(nil, m.method, append(append([]byte{'{'}, meta...), '}'))
}

// WithMeta returns a request with members, such as `"a":1,"b":2`, in the _meta of its
// params, in the place of those that names says. Where params or _meta are missing,
// they are added; where they are there and are no objects, nothing is changed.
func (m Message) WithMeta(members []byte, names ...string) Message {
	added := append(append([]byte(`"_meta":{`), members...), '}')
	switch meta := m.Param("_meta"); {
	case m.params.Empty():
		return m.withNewParams(append(append([]byte{'{'}, added...), '}'))
	case kindAt(m.Params()) != '{':
		return m
	case meta.Empty():
		return m.Insert(m.params, added)
	case kindAt(m.At(meta)) == '{':
		kept := Without(m.At(meta), names...)
		kept = kept[:len(kept)-1]
		if len(kept) > 1 {
			kept = append(kept, ',')
		}
		return m.Replace(meta, append(append(kept, members...), '}'))
	}
	return m
}

// withNewParams puts params at the end of a message that has none.
func (m Message) withNewParams(params []byte) Message {
	end := len(m.raw) - 1
	old := m.raw
	m.raw = make([]byte, 0, len(old)+len(`,"params":`)+len(params))
	m.raw = append(append(m.raw, old[:end]...), `,"params":`...)
	m.params = m.add(params)
	m.notes = nil
	m.raw = append(m.raw, '}')
	return m
}

// WithParams returns a request or notification that has params with other ones.
func (m Message) WithParams(params []byte) Message { return m.Replace(m.params, params) }

// Replace returns the message with another value at a span that was found in it.
func (m Message) Replace(at Span, value []byte) Message {
	return m.splice(int(at.Start), int(at.End), value, "")
}

// Insert returns the message with members, such as `"a":1,"b":2`, put at the
// start of the object at a span that was found in it.
func (m Message) Insert(object Span, members []byte) Message {
	start := int(object.Start) + 1
	if m.emptyObject(object) {
		return m.splice(start, start, members, "")
	}
	return m.splice(start, start, members, ",")
}

func (m Message) emptyObject(object Span) bool {
	return len(bytes.TrimLeft(m.raw[object.Start+1:object.End-1], " \t")) == 0
}

// splice replaces raw[start:end] by text and what follows it, and moves every span behind it.
func (m Message) splice(start, end int, text []byte, behind string) Message {
	delta := len(text) + len(behind) - (end - start)
	raw := make([]byte, 0, len(m.raw)+delta)
	raw = append(raw, m.raw[:start]...)
	raw = append(append(raw, text...), behind...)
	raw = append(raw, m.raw[end:]...)
	if m.id.Empty() || start < int(m.id.Start) || end > int(m.id.End) {
		m.notes = nil // perhaps of what was there before
	}
	m.shift(start, end, delta)
	m.raw = m.held(raw)
	return m
}

// held tells of the memory of a message that is made of this one, and returns it.
func (m *Message) held(raw []byte) []byte {
	if m.hold != nil && cap(raw) > LongLine {
		m.hold(raw)
	}
	return raw
}

// shift moves what is behind a part that is longer by delta now.
func (m *Message) shift(start, end, delta int) {
	for _, s := range []*Span{&m.id, &m.params, &m.result, &m.err} {
		if int(s.Start) >= end && int(s.Start) > start {
			s.Start += int32(delta)
		}
		if int(s.End) >= end && !s.Empty() {
			s.End += int32(delta)
		}
	}
}
