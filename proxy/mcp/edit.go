package mcp

import (
	"iter"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// Edit copies an object that was already checked, such as a part of a Message,
// and lets edit change or leave out each member; the others stay as they are, in
// their order. Of anything else it makes an empty object.
func Edit(object []byte, edit func(name string, value []byte) ([]byte, bool)) []byte {
	kept := append(make([]byte, 0, max(len("{}"), len(object))), '{')
	for name, value := range members(object) {
		quoted := name.of(object)
		changed, keep := edit(nameOf(quoted), value.of(object))
		if !keep {
			continue
		}
		if len(kept) > 1 {
			kept = append(kept, ',')
		}
		kept = append(append(append(kept, quoted...), ':'), changed...)
	}
	return append(kept, '}')
}

// EditAt returns the message with what Edit makes of the object at a span that was found in
// it. It copies the message once, and not at all if nothing was changed.
func (m Message) EditAt(at Span, edit func(name string, value []byte) ([]byte, bool)) Message {
	object := m.At(at)
	var raw []byte // from the first change on
	same := int32(len("{"))
	var room [8]named
	for _, member := range m.membersOf(at, room[:0]) {
		name, value := member.name, member.value
		was := value.of(object)
		is, keep := edit(nameOf(name.of(object)), was)
		stays := keep && len(is) == len(was) && &is[0] == &was[0]
		switch {
		case raw == nil && stays:
			same = value.End
			continue
		case raw == nil:
			raw = append(make([]byte, 0, len(m.raw)+max(0, len(is)-len(was))), m.raw[:at.Start+same]...)
		}
		if !keep {
			continue
		}
		if raw[len(raw)-1] != '{' {
			raw = append(raw, ',')
		}
		raw = append(append(raw, object[name.Start:value.Start]...), is...)
	}
	switch {
	case raw != nil:
		raw = append(raw, '}')
	case IsObject(object):
		return m
	default: // as Edit makes
		raw = append(append(raw, m.raw[:at.Start]...), "{}"...)
	}
	return m.edited(at, raw)
}

// named is where the name, quoted, and the value of a member are.
type named struct{ name, value Span }

// membersOf appends the members of an object that was found in the message.
func (m *Message) membersOf(at Span, all []named) []named {
	if m.notes == nil || at != m.result {
		for name, value := range members(m.At(at)) {
			all = append(all, named{name, value})
		}
		return all
	}
	for _, n := range m.notes {
		if n.in == inResult {
			all = append(all, named{Span{n.name.Start - 1, n.name.End + 1}, n.value})
		}
	}
	return all
}

// edited returns the message that raw is, up to the end of what a span of this one was
// replaced by.
func (m Message) edited(at Span, raw []byte) Message {
	delta := len(raw) - int(at.End)
	raw = append(raw, m.raw[at.End:]...)
	m.notes = nil // perhaps of what was there before
	m.shift(int(at.Start), int(at.End), delta)
	m.raw = m.held(raw)
	return m
}

// Without copies an object without some of its members.
func Without(object []byte, names ...string) []byte {
	return Edit(object, func(name string, value []byte) ([]byte, bool) {
		return value, !slices.Contains(names, name)
	})
}

// EditElements is Edit for the elements of an array that was already checked.
// Anything else is returned as it is.
func EditElements(array []byte, edit func(element []byte) ([]byte, bool)) []byte {
	if kindAt(array) != '[' {
		return array
	}
	kept := append(make([]byte, 0, len(array)), '[')
	for element := range Elements(array) {
		changed, keep := edit(element)
		if !keep {
			continue
		}
		if len(kept) > 1 {
			kept = append(kept, ',')
		}
		kept = append(kept, changed...)
	}
	return append(kept, ']')
}

// Elements gives the raw elements of an array that was already checked. Of
// anything else it gives none.
func Elements(array []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for element := range elements(array) {
			if !yield(element.of(array)) {
				return
			}
		}
	}
}

// Member returns the raw value of a member of an object that was already checked;
// nil if there is none.
func Member(object []byte, name string) []byte {
	if found, ok := member(object, name); ok {
		return found.of(object)
	}
	return nil
}

// IsObject reports whether a raw value that was already checked is an object.
func IsObject(value []byte) bool { return kindAt(value) == '{' }

// TextOf returns the string that a raw value is; ok is false if it is none.
func TextOf(value []byte) (text string, ok bool) {
	if kindAt(value) != '"' {
		return "", false
	}
	return string(unquote(value)), true
}

// IsID reports whether a raw value is one that a request may have for its id, and nothing
// beside it.
func IsID(value []byte) bool {
	if !jsontext.Value(value).IsValid() {
		return false
	}
	first, last := value[0], value[len(value)-1] // no space around it, which may be a new line
	number := (first == '-' || '0' <= first && first <= '9') && '0' <= last && last <= '9'
	return number || first == '"' && last == '"'
}
