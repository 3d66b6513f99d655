package mcp

// Fragment is raw members that are put into the params of many messages: they are read
// once, and not with each of them.
type Fragment struct {
	raw   []byte
	notes []note // counted from the start of params that have these first; nil: there are too many
}

// NewFragment returns the fragment of members that were already checked, such as
// `"a":1,"b":2`. There must be one at least.
func NewFragment(members []byte) Fragment {
	object := append(append([]byte{'{'}, members...), '}')
	s := newScanner(object)
	defer s.free()
	if s.whole(inParams) {
		return Fragment{members, s.noted()}
	}
	return Fragment{raw: members}
}

// InsertFragment is Insert for the params of a message, an object that has none of the
// members yet. If where its members are is noted, it still is.
func (m Message) InsertFragment(f Fragment) Message {
	alone := m.emptyObject(m.params)
	before := m.notes
	m = m.Insert(m.params, f.raw)
	if f.notes == nil || before == nil && !alone {
		return m
	}
	moved := int32(len(f.raw) + len(","))
	m.notes = append(make([]note, 0, len(f.notes)+len(before)), f.notes...)
	for _, n := range before {
		m.notes = append(m.notes, note{n.in, n.name.moved(moved), n.value.moved(moved)})
	}
	return m
}
