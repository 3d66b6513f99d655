package redactor

// noDigit is the value of a byte that is no digit of base 64.
const noDigit = 0xff

// digits64 is the value of each digit of base 64, of both alphabets (RFC 4648,
// sections 4 and 5).
var digits64 = func() (values [256]byte) {
	for i := range values {
		values[i] = noDigit
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		values[c] = byte(i)
	}
	values['-'], values['_'] = values['+'], values['/']
	return values
}()

// runs looks into what could be written in base 64 or 16: digits without a break
// but those of lines, and enough of them for the shortest secret.
func (s *scan) runs(text []byte, at []int32) {
	shortest := (s.lengths[0].size*8 + 5) / 6
	for i := 0; i < len(text); {
		if digits64[text[i]] == noDigit {
			i++
			continue
		}
		start, n := i, 0
		for i < len(text) && (digits64[text[i]] != noDigit || text[i] == '\n' || text[i] == '\r') {
			if digits64[text[i]] != noDigit {
				n++
			}
			i++
		}
		if n >= shortest {
			s.run(text[start:i], at, start)
		}
	}
}

// run looks into the bytes that one run of digits can stand for.
func (s *scan) run(text []byte, at []int32, start int) {
	d := &s.digits
	d.reset(len(text))
	hexadecimals, streak := 0, 0 // of the longest part that is in base 16
	for i, c := range text {
		if digits64[c] == noDigit {
			continue
		}
		d.put(c, place(at, start+i))
		if streak++; hexValue(c) < 0 {
			streak = 0
		}
		hexadecimals = max(hexadecimals, streak)
	}
	d.at = append(d.at, place(at, start+len(text)))
	if hexadecimals >= 2*s.lengths[0].size {
		s.base16(0)
		s.base16(1)
	}
	for offset := range 4 {
		s.base64(offset)
	}
}

// base64 decodes the digits from offset on, as if a group of four began there. A
// secret that lies anywhere in what was encoded is whole in one of the four.
func (s *scan) base64(offset int) {
	digits := s.digits.text[offset:] // a run has more
	out := s.grown(len(digits) * 6 / 8)
	n := 0
	for ; len(digits) >= 4; digits = digits[4:] {
		group := uint32(digits64[digits[0]])<<18 | uint32(digits64[digits[1]])<<12 | uint32(digits64[digits[2]])<<6 | uint32(digits64[digits[3]])
		out[n], out[n+1], out[n+2] = byte(group>>16), byte(group>>8), byte(group)
		n += 3
	}
	if len(digits) >= 2 {
		out[n] = digits64[digits[0]]<<2 | digits64[digits[1]]>>4
	}
	if len(digits) == 3 {
		out[n+1] = digits64[digits[1]]<<4 | digits64[digits[2]]>>2
	}
	s.roll(out, func(start, end int) bool { return s.add(offset+start*8/6, offset+(end*8+5)/6, s.digits.at) })
}

// base16 decodes the digits from offset on. Those that are none of base 16 are
// zeros: what they are part of is no secret.
func (s *scan) base16(offset int) {
	digits := s.digits.text[offset:]
	out := s.grown(len(digits) / 2)
	for i := range out {
		value, _ := hexadecimal(digits[2*i:], 2)
		out[i] = byte(value)
	}
	s.roll(out, func(start, end int) bool { return s.add(offset+2*start, offset+2*end, s.digits.at) })
}

// grown returns the memory for decoded bytes, n of them.
func (s *scan) grown(n int) []byte {
	s.bytes = append(s.bytes[:0], s.digits.text[:n]...) // n is less than that has
	return s.bytes
}
