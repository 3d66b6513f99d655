package rbac

import "math/bits"

// set is a set of the numbers below a size, most often of rules. Sets that are used
// together have the same size.
type set []uint64

func newSet(size int) set { return make(set, (size+63)/64) }

func (s set) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s set) remove(i int)   { s[i/64] &^= 1 << (i % 64) }
func (s set) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

func (s set) and(other set) {
	for i := range s {
		s[i] &= other[i]
	}
}

func (s set) less(other set) {
	for i := range s {
		s[i] &^= other[i]
	}
}

// meets reports whether something is in both.
func (s set) meets(other set) bool {
	for i := range s {
		if s[i]&other[i] != 0 {
			return true
		}
	}
	return false
}

func (s set) or(other set) {
	for i := range s {
		s[i] |= other[i]
	}
}

func (s set) empty() bool {
	for _, word := range s {
		if word != 0 {
			return false
		}
	}
	return true
}

// next is the smallest number from i on that is in s, or -1.
func (s set) next(i int) int {
	for w := i / 64; w < len(s); w++ {
		word := s[w]
		if w == i/64 {
			word &= ^uint64(0) << (i % 64)
		}
		if word != 0 {
			return w*64 + bits.TrailingZeros64(word)
		}
	}
	return -1
}

// numbers is a set that does not change, in whichever form is smaller.
type numbers struct {
	list  []int32
	dense set
}

func newNumbers(list []int32, size int) numbers {
	if len(list) <= size/64 {
		return numbers{list: list}
	}
	n := numbers{dense: newSet(size)}
	for _, i := range list {
		n.dense.add(int(i))
	}
	return n
}

func (n *numbers) addTo(s set) {
	if n.dense != nil {
		s.or(n.dense)
		return
	}
	for _, i := range n.list {
		s.add(int(i))
	}
}
