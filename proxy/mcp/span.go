package mcp

import (
	"bytes"
	"iter"
)

// Span is a range of a message's bytes. The zero Span is an absent value.
type Span struct{ Start, End int }

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
func (m Message) Param(path ...string) Span { return m.find(m.params, path) }

// InResult finds a value inside the result.
func (m Message) InResult(path ...string) Span { return m.find(m.result, path) }

// InError finds a value inside the error.
func (m Message) InError(path ...string) Span { return m.find(m.err, path) }

func (m Message) find(in Span, path []string) Span {
	if in.Empty() {
		return Span{}
	}
	found := Find(m.At(in), path...)
	if found.Empty() {
		return Span{}
	}
	return Span{in.Start + found.Start, in.Start + found.End}
}

// Find finds a value inside an object that was already checked, such as a part of
// a Message, by the names of the objects around it and its own.
func Find(object []byte, path ...string) Span {
	in := Span{0, len(object)}
	for _, name := range path {
		found, ok := member(object[in.Start:in.End], name)
		if !ok {
			return Span{}
		}
		in = Span{in.Start + found.Start, in.Start + found.End}
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
			if !yield(string(unquote(name.of(object))), value.of(object)) {
				return
			}
		}
	}
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
	m.raw = append(m.raw, '}')
	return m
}

// WithParams returns a request or notification that has params with other ones.
func (m Message) WithParams(params []byte) Message { return m.Replace(m.params, params) }

// Replace returns the message with another value at a span that was found in it.
func (m Message) Replace(at Span, value []byte) Message {
	return m.splice(at.Start, at.End, value)
}

// Insert returns the message with members, such as `"a":1,"b":2`, put at the
// start of the object at a span that was found in it.
func (m Message) Insert(object Span, members []byte) Message {
	start := object.Start + 1
	if m.emptyObject(object) {
		return m.splice(start, start, members)
	}
	return m.splice(start, start, append(members[:len(members):len(members)], ','))
}

func (m Message) emptyObject(object Span) bool {
	return len(bytes.TrimLeft(m.raw[object.Start+1:object.End-1], " \t")) == 0
}

// splice replaces raw[start:end] and moves every span behind it.
func (m Message) splice(start, end int, text []byte) Message {
	raw := make([]byte, 0, len(m.raw)+len(text)-(end-start))
	raw = append(raw, m.raw[:start]...)
	raw = append(raw, text...)
	raw = append(raw, m.raw[end:]...)
	delta := len(text) - (end - start)
	for _, s := range []*Span{&m.id, &m.params, &m.result, &m.err} {
		if s.Start >= end && s.Start > start {
			s.Start += delta
		}
		if s.End >= end && !s.Empty() {
			s.End += delta
		}
	}
	m.raw = raw
	return m
}
