package egress

import (
	"net/netip"
	"sync"

	"mcpgateway/policy"
)

// names gives each name an address of its own. Addresses are given out in order,
// and the oldest of maxNames is forgotten first: it comes up again only after all
// of the range, so that an address that a program still remembers stands for its
// name or for none.
type names struct {
	mu       sync.Mutex
	next     uint32            // the number of an address is its place in the range
	byName   map[string]uint32 // the latest
	byNumber map[uint32]string
}

// rangeSize is the number of addresses of policy.Synthetic, a power of two.
const rangeSize = 1 << 17

func newNames() *names {
	// The first is the network's own, the second may be the loopback device's.
	return &names{next: 2, byName: map[string]uint32{}, byNumber: map[uint32]string{}}
}

// address returns a name's address.
func (t *names) address(name string) netip.Addr {
	t.mu.Lock()
	defer t.mu.Unlock()
	// One that is old gets a new address in time, and keeps the old one as well.
	n, known := t.byName[name]
	if known && (t.next-n)%rangeSize < maxNames/2 {
		return synthetic(n)
	}
	n = t.next
	t.next = (t.next + 1) % rangeSize
	oldest := (n - maxNames) % rangeSize
	delete(t.byName, t.byNumber[oldest])
	delete(t.byNumber, oldest)
	t.byName[name], t.byNumber[n] = n, name
	return synthetic(n)
}

// name returns the name that an address of policy.Synthetic stands for.
func (t *names) name(a netip.Addr) (string, bool) {
	bytes := a.As4()
	n := (uint32(bytes[1])<<16 | uint32(bytes[2])<<8 | uint32(bytes[3])) % rangeSize
	t.mu.Lock()
	defer t.mu.Unlock()
	name, known := t.byNumber[n]
	return name, known
}

func synthetic(n uint32) netip.Addr {
	first := policy.Synthetic().Addr().As4()
	return netip.AddrFrom4([4]byte{first[0], first[1] + byte(n>>16), byte(n >> 8), byte(n)})
}
