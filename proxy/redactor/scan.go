package redactor

import "bytes"

// span is a part of a line.
type span struct{ start, end int32 }

// scan looks through one part of a line. It is used again for the next.
type scan struct {
	*Redactor
	found  []span
	origin int        // of the part in the line
	levels [3]decoded // the part without its escapes, and that without its own, and so on
	url    decoded
	digits decoded // a run of digits of base 64
	bytes  []byte  // what that stands for
}

// decoded is a text and where each byte of it comes from: at has one place more,
// the end.
type decoded struct {
	text []byte
	at   []int32
}

// maxKept bounds the memory that a scan keeps for the next line.
const maxKept = 256 << 10

// wipe forgets what was decoded, if there was a secret in it, and gives back memory
// that few lines need.
func (s *scan) wipe() {
	for _, d := range []*decoded{&s.levels[0], &s.levels[1], &s.levels[2], &s.url, &s.digits} {
		if len(s.found) > 0 {
			clear(d.text[:cap(d.text)])
		}
		if cap(d.text) > maxKept {
			*d = decoded{}
		}
	}
	if len(s.found) > 0 {
		clear(s.bytes[:cap(s.bytes)])
	}
	if cap(s.bytes) > maxKept {
		s.bytes = nil
	}
	if cap(s.found) > maxKept {
		s.found = nil
	}
}

// part looks for secrets in a part of a line that begins at origin.
func (s *scan) part(text []byte, origin int) {
	s.origin = origin
	first := len(s.found)
	s.look(text, nil)
	deepest, at := text, []int32(nil)
	for i := range s.levels {
		if bytes.IndexByte(deepest, '\\') < 0 {
			break
		}
		s.levels[i].unescape(deepest, at)
		deepest, at = s.levels[i].text, s.levels[i].at
		s.look(deepest, at)
	}
	if bytes.IndexByte(deepest, '%') >= 0 {
		s.url.unpercent(deepest, at, '+')
		s.look(s.url.text, s.url.at)
	}
	if bytes.IndexByte(deepest, '+') >= 0 {
		s.url.unpercent(deepest, at, ' ')
		s.look(s.url.text, s.url.at)
	}
	if at != nil { // no escape is cut in two
		for i := first; i < len(s.found); i++ {
			s.found[i] = s.snap(s.found[i], at)
		}
	}
}

// look looks through a text whose bytes come from the places at; nil: from their own.
func (s *scan) look(text []byte, at []int32) {
	s.roll(text, func(start, end int) bool { return s.add(start, end, at) })
	s.runs(text, at)
}

// add notes a secret and reports whether more can be noted.
func (s *scan) add(start, end int, at []int32) bool {
	if at == nil {
		s.found = append(s.found, span{int32(s.origin + start), int32(s.origin + end)})
	} else {
		for end < len(at)-1 && at[end] == at[end-1] { // inside of one escape
			end++
		}
		s.found = append(s.found, span{int32(s.origin) + at[start], int32(s.origin) + at[end]})
	}
	return len(s.found) <= maxFound
}

// snap widens a span to whole units, whose places are at.
func (s *scan) snap(found span, at []int32) span {
	start, end := found.start-int32(s.origin), found.end-int32(s.origin)
	return span{int32(s.origin) + at[last(at, start)], int32(s.origin) + at[first(at, end)]}
}
