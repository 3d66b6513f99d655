package redactor

import "bytes"

// replace appends text[from:to] to out, with Mark in the place of what was found.
func replace(out, text []byte, from, to int, found []span) []byte {
	for _, f := range found {
		start, end := max(int(f.start), from), min(int(f.end), to)
		if start >= end {
			continue
		}
		out = append(append(out, text[from:start]...), Mark...)
		from = end
	}
	return append(out, text[from:to]...)
}

// replaceInJSON replaces value by value, so that what surrounds them stays. A number
// or a literal of which a part was found becomes the string Mark. It goes on to the
// end whatever the line is.
func replaceInJSON(line []byte, found []span) []byte {
	out := make([]byte, 0, len(line))
	for at := 0; at < len(line); {
		for len(found) > 0 && int(found[0].end) <= at {
			found = found[1:]
		}
		if len(found) == 0 {
			return append(out, line[at:]...)
		}
		switch c := line[at]; {
		case c == '"':
			end := stringEnd(line, at)
			inner := end
			if end > at+1 && line[end-1] == '"' {
				inner--
			}
			out = replace(append(out, '"'), line, at+1, inner, until(found, inner))
			out = append(out, line[inner:end]...)
			at = end
		case structure(c):
			out = append(out, c)
			at++
		default:
			end := at + 1
			for end < len(line) && line[end] != '"' && !structure(line[end]) {
				end++
			}
			if int(found[0].start) < end {
				out = append(out, `"`+Mark+`"`...)
			} else {
				out = append(out, line[at:end]...)
			}
			at = end
		}
	}
	return out
}

// until gives those that begin before end.
func until(found []span, end int) []span {
	for i, f := range found {
		if int(f.start) >= end {
			return found[:i]
		}
	}
	return found
}

func structure(c byte) bool { return bytes.IndexByte([]byte("{}[]:, \t\r\n"), c) >= 0 }

// stringEnd returns where the string at a place ends, behind its quote.
func stringEnd(line []byte, at int) int {
	for at++; at < len(line); at++ {
		switch line[at] {
		case '\\':
			at++
		case '"':
			return at + 1
		}
	}
	return len(line)
}
