package redactor

import (
	"slices"
	"sort"
	"unicode/utf16"
	"unicode/utf8"
)

// last is the index of the last place that is not behind where, first that of the
// first that is not before it.
func last(at []int32, where int32) int {
	return max(0, sort.Search(len(at), func(i int) bool { return at[i] > where })-1)
}

func first(at []int32, where int32) int {
	return min(len(at)-1, sort.Search(len(at), func(i int) bool { return at[i] >= where }))
}

// reset makes room for n bytes, so that no secret is left behind in memory that was
// outgrown.
func (d *decoded) reset(n int) {
	d.text, d.at = slices.Grow(d.text[:0], n), slices.Grow(d.at[:0], n+1)
}

func (d *decoded) put(c byte, from int32) {
	d.text, d.at = append(d.text, c), append(d.at, from)
}

// place is where the i-th byte of a text comes from.
func place(at []int32, i int) int32 {
	if at == nil {
		return int32(i)
	}
	return at[i]
}

// ending is where what follows a text would come from.
func ending(text []byte, at []int32) int32 { return place(at, len(text)) }

// unescape takes the escapes out of text: JSON's (RFC 8259, section 7), and \xHH of
// other languages. What is no escape stays as it is.
func (d *decoded) unescape(text []byte, at []int32) {
	d.reset(len(text))
	for i := 0; i < len(text); {
		from := place(at, i)
		if text[i] != '\\' {
			d.put(text[i], from)
			i++
			continue
		}
		r, n := escape(text[i:])
		switch {
		case n == 0:
			d.put('\\', from)
			n = 1
		case r < utf8.RuneSelf || text[i+1] == 'x':
			d.put(byte(r), from)
		default:
			var encoded [utf8.UTFMax]byte
			for _, c := range encoded[:utf8.EncodeRune(encoded[:], r)] {
				d.put(c, from)
			}
		}
		i += n
	}
	d.at = append(d.at, ending(text, at))
}

// escape reads the escape at the beginning of text; n is its length, 0 if it is none.
func escape(text []byte) (r rune, n int) {
	if len(text) < 2 {
		return 0, 0
	}
	switch c := text[1]; c {
	case '"', '\\', '/', '\'':
		return rune(c), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'x':
		if value, ok := hexadecimal(text[2:], 2); ok {
			return value, 4
		}
	case 'u':
		high, ok := hexadecimal(text[2:], 4)
		if !ok {
			return 0, 0
		}
		if utf16.IsSurrogate(high) && len(text) > 7 && text[6] == '\\' && text[7] == 'u' {
			if low, ok := hexadecimal(text[8:], 4); ok && utf16.DecodeRune(high, low) != utf8.RuneError {
				return utf16.DecodeRune(high, low), 12
			}
		}
		return high, 6
	}
	return 0, 0
}

func hexadecimal(text []byte, digits int) (value rune, ok bool) {
	if len(text) < digits {
		return 0, false
	}
	for _, c := range text[:digits] {
		v := hexValue(c)
		if v < 0 {
			return 0, false
		}
		value = value<<4 | rune(v)
	}
	return value, true
}

func hexValue(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// unpercent decodes "%41" (RFC 3986, section 2.1). plus is what "+" stands for: a
// space, in forms.
func (d *decoded) unpercent(text []byte, at []int32, plus byte) {
	d.reset(len(text))
	for i := 0; i < len(text); {
		from, c, n := place(at, i), text[i], 1
		switch c {
		case '+':
			c = plus
		case '%':
			if value, ok := hexadecimal(text[i+1:], 2); ok {
				c, n = byte(value), 3
			}
		}
		d.put(c, from)
		i += n
	}
	d.at = append(d.at, ending(text, at))
}
