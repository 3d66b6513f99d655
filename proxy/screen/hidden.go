package screen

import "unicode"

// Hidden reports whether a character shows nothing of itself, wherever it stands:
// format and control characters, bidirectional controls, tags, fillers. Tab and line
// breaks are not meant, nor are joiners and variation selectors, which have a use in
// some places: see text.
func Hidden(r rune) bool {
	switch {
	case r < 0x20:
		return r != '\t' && r != '\n' && r != '\r'
	case r < 0x7f:
		return false
	case r < 0xad:
		return r < 0xa0
	case joiner(r) || selector(r):
		return false
	}
	return unicode.Is(unicode.Cf, r) && !unicode.Is(unicode.Prepended_Concatenation_Mark, r) ||
		unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}

// Curious reports whether a character is hidden, or hidden unless its neighbours need
// it: whoever shows text to people should make it visible.
func Curious(r rune) bool { return r >= 0x300 && (joiner(r) || selector(r)) || Hidden(r) }

const (
	zwnj = 0x200c
	zwj  = 0x200d

	emojiSelector = 0xfe0f
	keycap        = 0x20e3
)

func joiner(r rune) bool { return r == zwnj || r == zwj }

func selector(r rune) bool {
	return r >= 0xfe00 && r <= 0xfe0f || r >= 0xe0100 && r <= 0xe01ef || mongolian(r)
}

// mongolian reports whether r is one of Mongolian's own variation selectors.
func mongolian(r rune) bool { return r >= 0x180b && r <= 0x180d || r == 0x180f }

// joins reports whether a joiner between two characters has a use. prev is what it
// follows, with no selector, and next what follows it; -1 if there is nothing.
func joins(r, prev, next rune) bool {
	switch {
	case next == zwnj || next == zwj || next >= 0 && selector(next):
		return false
	case r == zwj && pictograph(prev) && pictograph(next):
		return true
	}
	// In the scripts that join letters, also at the end of a word.
	return prev >= 0 && unicode.In(prev, joining()...) && (next < 0 || next > unicode.MaxASCII || !letter(next))
}

// selects reports whether a selector has a use behind a character, and before next.
func selects(r, prev, next rune) bool {
	switch {
	case prev < 0 || joiner(prev) || selector(prev):
		return false
	case mongolian(r):
		return unicode.Is(unicode.Mongolian, prev)
	case r >= 0xe0100:
		return unicode.Is(unicode.Han, prev)
	case r == emojiSelector && prev <= unicode.MaxASCII:
		return next == keycap && (prev >= '0' && prev <= '9' || prev == '#' || prev == '*')
	case prev <= unicode.MaxASCII:
		return false
	case r >= emojiSelector-1:
		return pictograph(prev)
	}
	return unicode.In(prev, unicode.Han, unicode.Myanmar, unicode.Phags_Pa, unicode.Manichaean, unicode.Sm, unicode.So)
}

// pictograph reports whether r may be an emoji or a part of one.
func pictograph(r rune) bool {
	switch r {
	case 0x203c, 0x2049, 0x3030: // ‼ ⁉ 〰
		return true
	}
	return r > unicode.MaxASCII && unicode.In(r, unicode.So, unicode.Sm, unicode.Sk)
}

func letter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

// joining are the scripts whose letters change with what they are joined to.
func joining() []*unicode.RangeTable {
	return []*unicode.RangeTable{
		unicode.Arabic, unicode.Syriac, unicode.Mongolian, unicode.Nko, unicode.Thaana,
		unicode.Devanagari, unicode.Bengali, unicode.Gurmukhi, unicode.Gujarati, unicode.Oriya, unicode.Tamil, unicode.Telugu,
		unicode.Kannada, unicode.Malayalam, unicode.Sinhala, unicode.Tibetan, unicode.Khmer, unicode.Myanmar,
	}
}
