package rbac

import "strings"

// glob is a pattern in which "*" stands for any run of bytes, and nothing else for
// anything but itself.
type glob struct {
	prefix, suffix string
	middle         []string
	exact          bool // prefix is all of it
}

func newGlob(pattern string) glob {
	pieces := strings.Split(pattern, "*")
	last := len(pieces) - 1
	if last == 0 {
		return glob{prefix: pattern, exact: true}
	}
	g := glob{prefix: pieces[0], suffix: pieces[last]}
	for _, piece := range pieces[1:last] {
		if piece != "" {
			g.middle = append(g.middle, piece)
		}
	}
	return g
}

func (g *glob) match(text string) bool {
	if g.exact {
		return text == g.prefix
	}
	if len(text) < len(g.prefix)+len(g.suffix) || !strings.HasPrefix(text, g.prefix) || !strings.HasSuffix(text, g.suffix) {
		return false
	}
	text = text[len(g.prefix) : len(text)-len(g.suffix)]
	for _, piece := range g.middle {
		i := strings.Index(text, piece)
		if i < 0 {
			return false
		}
		text = text[i+len(piece):]
	}
	return true
}

// overlap reports whether a text exists that both patterns match.
func overlap(a, b string) bool {
	// row[j] says whether what was read of a and b[:j] can match the same text.
	row := make([]bool, len(b)+1)
	row[0] = true
	for j := range len(b) {
		row[j+1] = row[j] && b[j] == '*'
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = row[0] && a[i] == '*'
		for j := range len(b) {
			above := row[j+1]
			if a[i] == '*' || b[j] == '*' {
				row[j+1] = above || row[j] // it stands for nothing, or for one more of the other
			} else {
				row[j+1] = diagonal && a[i] == b[j]
			}
			diagonal = above
		}
	}
	return row[len(b)]
}

// index finds the rules whose patterns match a text without trying them all. Each
// pattern that has a "*" is filed under the three bytes of it that the fewest others
// have; a text is asked for the runs of three bytes that are in it.
type index struct {
	always set // the rules that match every text
	exact  map[string]numbers
	globs  []indexed
	grams  map[uint32][]int32 // into globs
	short  []int32            // globs that have no three bytes in a row
}

type indexed struct {
	glob
	rules numbers
}

// newIndex makes an index of size rules, of which patterns gives those of each; a
// rule without any matches every text if open.
func newIndex(size int, patterns func(rule int) []string, open func(rule int) bool) *index {
	x := &index{always: newSet(size), exact: map[string]numbers{}, grams: map[uint32][]int32{}}
	rules := make(map[string][]int32)
	var order []string
	for i := range size {
		list := patterns(i)
		if len(list) == 0 && open(i) {
			x.always.add(i)
		}
		for _, pattern := range list {
			if strings.Trim(pattern, "*") == "" && pattern != "" {
				x.always.add(i)
				continue
			}
			if rules[pattern] == nil {
				order = append(order, pattern)
			}
			rules[pattern] = append(rules[pattern], int32(i)) // package rules bounds them
		}
	}
	count := make(map[uint32]int)
	for _, pattern := range order {
		numbers := newNumbers(rules[pattern], size)
		if !strings.Contains(pattern, "*") {
			x.exact[pattern] = numbers
			continue
		}
		x.globs = append(x.globs, indexed{newGlob(pattern), numbers})
		for gram := range x.globs[len(x.globs)-1].grams() {
			count[gram]++
		}
	}
	for i := range x.globs {
		x.file(int32(i), count)
	}
	return x
}

// grams are the runs of three bytes that every text has which g matches.
func (g *glob) grams() map[uint32]bool {
	out := make(map[uint32]bool)
	for _, piece := range append([]string{g.prefix, g.suffix}, g.middle...) {
		for i := 0; i+3 <= len(piece); i++ {
			out[gram(piece, i)] = true
		}
	}
	return out
}

func gram(text string, i int) uint32 {
	return uint32(text[i]) | uint32(text[i+1])<<8 | uint32(text[i+2])<<16
}

func (x *index) file(number int32, count map[uint32]int) {
	best, found := uint32(0), false
	for gram := range x.globs[number].grams() {
		if !found || count[gram] < count[best] || count[gram] == count[best] && gram < best {
			best, found = gram, true
		}
	}
	if !found {
		x.short = append(x.short, number)
		return
	}
	x.grams[best] = append(x.grams[best], number)
}

// find puts the rules that match text into out. seen has room for the globs.
func (x *index) find(text string, out, seen set) {
	copy(out, x.always)
	if n, ok := x.exact[text]; ok {
		n.addTo(out)
	}
	for _, i := range x.short {
		if g := &x.globs[i]; g.match(text) {
			g.rules.addTo(out)
		}
	}
	if len(x.grams) == 0 {
		return
	}
	clear(seen)
	for i := 0; i+3 <= len(text); i++ {
		for _, number := range x.grams[gram(text, i)] {
			if seen.has(int(number)) {
				continue
			}
			seen.add(int(number))
			if g := &x.globs[number]; g.match(text) {
				g.rules.addTo(out)
			}
		}
	}
}
