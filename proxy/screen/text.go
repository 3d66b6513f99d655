package screen

import (
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// unit is one character of a JSON text as it is written: raw, or as an escape.
type unit struct {
	r          rune // utf16 surrogate if the text has half of a pair
	start, end int
}

// unitAt reads the unit at a place of JSON that was already checked. Outside of
// strings it gives the bytes as they are.
func unitAt(data []byte, at int) unit {
	c := data[at]
	switch {
	case c == '\\' && at+1 < len(data):
		return escapeAt(data, at)
	case c < utf8.RuneSelf:
		return unit{rune(c), at, at + 1}
	}
	r, size := utf8.DecodeRune(data[at:])
	return unit{r, at, at + size}
}

func escapeAt(data []byte, at int) unit {
	switch data[at+1] {
	case 'b':
		return unit{'\b', at, at + 2}
	case 'f':
		return unit{'\f', at, at + 2}
	case 'n':
		return unit{'\n', at, at + 2}
	case 'r':
		return unit{'\r', at, at + 2}
	case 't':
		return unit{'\t', at, at + 2}
	case 'u':
	default:
		return unit{rune(data[at+1]), at, at + 2}
	}
	r := hex4(data, at+2)
	end := min(at+6, len(data))
	if utf16.IsSurrogate(r) && end+6 <= len(data) && data[end] == '\\' && data[end+1] == 'u' {
		if pair := utf16.DecodeRune(r, hex4(data, end+2)); pair != utf8.RuneError {
			return unit{pair, at, end + 6}
		}
	}
	return unit{r, at, end}
}

// hex4 reads four hexadecimal digits; -1 if there are none.
func hex4(data []byte, at int) rune {
	if at+4 > len(data) {
		return -1
	}
	var r rune
	for _, c := range data[at : at+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// clean reports whether JSON holds no character that could be hidden. It reads the
// whole once and allocates nothing.
func clean(data []byte) bool {
	for at := 0; at < len(data); {
		if c := data[at]; c >= 0x20 && c < 0x7f && c != '\\' {
			at++
			continue
		}
		u := unitAt(data, at)
		// White space outside of strings is none of the controls that are hidden.
		if Curious(u.r) {
			return false
		}
		at = u.end
	}
	return true
}

// text copies a raw JSON string without what is hidden in it, and returns that: each
// character once, in order, at most maxRunes. What is not hidden stays as it was
// written. Without anything hidden it returns quoted itself.
func text(quoted []byte) (visible []byte, hidden []rune) {
	if clean(quoted) {
		return quoted, nil
	}
	kept := append(make([]byte, 0, len(quoted)), '"')
	prev, base := rune(-1), rune(-1) // the last that was kept, and the last but selectors
	for at := 1; at < len(quoted)-1; {
		u := unitAt(quoted, at)
		at = u.end
		if isHidden(u.r, prev, base, quoted[at:len(quoted)-1]) {
			hidden = note(hidden, u.r)
			continue
		}
		if lowSurrogate(u.r) && highSurrogate(prev) {
			continue // what stood between the two is gone: they would become a character
		}
		kept = append(kept, quoted[u.start:u.end]...)
		prev = u.r
		if !selector(u.r) {
			base = u.r
		}
	}
	if len(hidden) == 0 {
		return quoted, nil
	}
	return append(kept, '"'), hidden
}

// isHidden judges a character by those around it that stay. rest is what follows.
func isHidden(r, prev, base rune, rest []byte) bool {
	switch {
	case joiner(r):
		return joiner(prev) || !joins(r, base, following(rest))
	case selector(r):
		return !selects(r, prev, following(rest))
	}
	return Hidden(r)
}

// following is the first character that is not hidden wherever it stands; -1 if there
// is none.
func following(rest []byte) rune {
	for at := 0; at < len(rest); {
		u := unitAt(rest, at)
		if !Hidden(u.r) {
			return u.r
		}
		at = u.end
	}
	return -1
}

func highSurrogate(r rune) bool { return r >= 0xd800 && r < 0xdc00 }
func lowSurrogate(r rune) bool  { return r >= 0xdc00 && r < 0xe000 }

// maxRunes bounds how many different characters a finding names.
const maxRunes = 8

func note(hidden []rune, r rune) []rune {
	if slices.Contains(hidden, r) {
		return hidden
	}
	if len(hidden) == maxRunes {
		return hidden
	}
	return append(hidden, r)
}
