package mcp

import "iter"

// A message is found around in often, and was checked once and for all by Parse:
// so what follows knows where values end, and nothing else of JSON. Of bytes that
// were not checked it may give nonsense, but stays within them and ends.

// members gives where the names, quoted, and the values of an object are.
func members(object []byte) iter.Seq2[Span, Span] {
	return func(yield func(Span, Span) bool) {
		if kindAt(object) != '{' {
			return
		}
		for at := start(object) + 1; ; {
			name := next(object, at)
			if name.Empty() || object[name.Start] != '"' {
				return
			}
			value := next(object, blank(object, int(name.End))+1) // behind the colon
			if value.Empty() || !yield(name, value) {
				return
			}
			at = blank(object, int(value.End)) + 1 // behind the comma
		}
	}
}

// elements gives where the elements of an array are.
func elements(array []byte) iter.Seq[Span] {
	return func(yield func(Span) bool) {
		if kindAt(array) != '[' {
			return
		}
		for at := start(array) + 1; ; {
			element := next(array, at)
			if element.Empty() || array[element.Start] == ']' || !yield(element) {
				return
			}
			at = blank(array, int(element.End)) + 1 // behind the comma
		}
	}
}

func start(data []byte) int { return blank(data, 0) }

// blank returns where the white space at a place ends.
func blank(data []byte, at int) int {
	for at < len(data) && (data[at] == ' ' || data[at] == '\t' || data[at] == '\n' || data[at] == '\r') {
		at++
	}
	return at
}

// next returns the value at a place, empty at the end.
func next(data []byte, at int) Span {
	at = blank(data, at)
	if at >= len(data) {
		return Span{}
	}
	switch data[at] {
	case '"':
		return span(at, text(data, at))
	case '{', '[':
		return span(at, nested(data, at))
	}
	end := at + 1
	for end < len(data) && !ends(data[end]) {
		end++
	}
	return span(at, end)
}

// ends reports whether a byte ends a number, true, false or null.
func ends(c byte) bool {
	switch c {
	case ',', ']', '}', ' ', '\t', '\n', '\r', ':':
		return true
	}
	return false
}

// text returns where the string at a place ends.
func text(data []byte, at int) int {
	for at++; at < len(data); at++ {
		switch data[at] {
		case '\\':
			at++
		case '"':
			return at + 1
		}
	}
	return len(data)
}

// nested returns where the object or array at a place ends.
func nested(data []byte, at int) int {
	for depth := 0; at < len(data); {
		switch data[at] {
		case '"':
			at = text(data, at)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return at + 1
			}
		}
		at++
	}
	return len(data)
}
