package screen

// walker goes once through a JSON value that was already checked, looks at every
// string in it, and copies it without what is hidden in those that may be changed.
type walker struct {
	all    bool // every value may be changed: nothing is called by it
	stack  []frame
	hidden []rune
	fixed  bool // something is hidden where nothing may be changed
}

// frame is an object or array around the place.
type frame struct {
	object bool
	named  bool // an object's next text is a value, for its name was read
	about  meaning
	value  meaning // of the member whose name was read, or of every element
}

// meaning is what a value is for.
type meaning struct {
	prose      bool // people and models read it, nothing else does
	data       bool // it, and all in it, is what calls are made of
	properties bool // its names are chosen freely, and no keywords
}

// of says what a member means whose name stands in an object.
func (m meaning) of(name string) meaning {
	if m.data || m.properties {
		return meaning{data: m.data}
	}
	switch name {
	case "description", "title", "instructions":
		return meaning{prose: true}
	case "default", "const", "enum", "examples":
		return meaning{data: true}
	case "properties", "patternProperties", "$defs", "definitions", "dependentSchemas":
		return meaning{properties: true}
	}
	return meaning{}
}

// value returns the copy, or raw itself if nothing in it changes.
func (w *walker) value(raw []byte) []byte {
	var kept []byte
	copied := 0
	w.stack = append(w.stack[:0], frame{})
	for at := 0; at < len(raw); at++ {
		top := &w.stack[len(w.stack)-1]
		switch raw[at] {
		case '{':
			w.stack = append(w.stack, frame{object: true, about: top.value})
		case '[':
			w.stack = append(w.stack, frame{value: meaning{data: top.value.data}})
		case '}', ']':
			w.stack = w.stack[:max(1, len(w.stack)-1)]
		case ',':
			top.named = false
		case '"':
			end := stringEnd(raw, at)
			quoted := raw[at:end]
			if visible := w.string(top, quoted); len(visible) != len(quoted) {
				kept = append(append(kept, raw[copied:at]...), visible...)
				copied = end
			}
			at = end - 1
		}
	}
	if copied == 0 {
		return raw
	}
	return append(kept, raw[copied:]...)
}

// string looks at a name or value, and returns what shall stand in its place.
func (w *walker) string(in *frame, quoted []byte) []byte {
	name := in.object && !in.named
	visible, hidden := text(quoted)
	for _, r := range hidden {
		w.hidden = note(w.hidden, r)
	}
	if name {
		in.named, in.value = true, in.about.of(unescaped(quoted))
	}
	if len(hidden) == 0 {
		return quoted
	}
	if !name && (w.all || in.value.prose) {
		return visible
	}
	w.fixed = true
	return quoted
}

// stringEnd returns where the string at a place ends.
func stringEnd(raw []byte, at int) int {
	for at++; at < len(raw); at++ {
		switch raw[at] {
		case '\\':
			at++
		case '"':
			return at + 1
		}
	}
	return len(raw)
}
