package catalog

import (
	"bytes"
	"slices"
)

// maxLate bounds the lists that one watch has not heard of yet.
const maxLate = 256

// watch is somebody who wants to know of lists that came too late for who asked.
type watch struct {
	owner string
	late  chan key
}

// watch gives the lists of an owner that differ from what was answered in their
// place, because they came too late.
func (l *Lists) watch(owner string) (late <-chan key, stop func()) {
	w := &watch{owner, make(chan key, maxLate)}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watches[w] = true
	return w.late, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.watches, w)
	}
}

func (l *Lists) tellLocked(k key) {
	for w := range l.watches {
		if w.owner != k.owner {
			continue
		}
		select {
		case w.late <- k:
		default:
		}
	}
}

// equals reports whether two listings have the same items; nil has none.
func (l *listing) equals(other *listing) bool {
	return slices.EqualFunc(l.items, other.all(), func(a, b item) bool { return bytes.Equal(a.raw, b.raw) })
}
