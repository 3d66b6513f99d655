package egress

import (
	"fmt"
	"net/netip"
	"testing"

	"mcpgateway/policy"
)

func TestNames(t *testing.T) {
	t.Parallel()
	table := newNames()
	a, b := table.address("a.example"), table.address("b.example")
	if a == b || table.address("a.example") != a {
		t.Fatalf("a has %s and then %s, b has %s", a, table.address("a.example"), b)
	}
	for address, want := range map[netip.Addr]string{a: "a.example", b: "b.example", b.Next(): "", policy.Synthetic().Addr(): ""} {
		if got, known := table.name(address); got != want || known != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", address, got, known, want)
		}
	}
}

// TestNamesAreBounded: a server that asks for many names makes old ones forgotten,
// and no address stands for another name before the whole range was used.
func TestNamesAreBounded(t *testing.T) {
	t.Parallel()
	table := newNames()
	first := table.address("first.example")
	seen := map[netip.Addr]bool{first: true}
	for i := range rangeSize - 1 {
		a := table.address(fmt.Sprintf("n%d.example", i))
		if seen[a] || !policy.Synthetic().Contains(a) {
			t.Fatalf("name %d has the address %s", i, a)
		}
		seen[a] = true
		if name, known := table.name(first); known && name != "first.example" {
			t.Fatalf("after %d names %s stands for %q", i, first, name)
		}
	}
	if len(table.byName) != maxNames || len(table.byNumber) != maxNames {
		t.Errorf("it knows %d names and %d addresses, want %d", len(table.byName), len(table.byNumber), maxNames)
	}
	if _, known := table.name(first); known {
		t.Errorf("the oldest name is still known")
	}
	if again := table.address("again.example"); again != first {
		t.Errorf("after the whole range came %s, want %s", again, first)
	}
}

// TestNamesInUseStay: a name that is asked for again and again is never unknown.
func TestNamesInUseStay(t *testing.T) {
	t.Parallel()
	table := newNames()
	for i := range 3 * rangeSize / 10 {
		table.address(fmt.Sprintf("n%d.example", i))
		if i%(maxNames/4) == 0 {
			a := table.address("mine.example")
			if name, _ := table.name(a); name != "mine.example" {
				t.Fatalf("after %d names %s stands for %q", i, a, name)
			}
			for range maxNames / 2 { // as long as a program may remember it
				i++
				table.address(fmt.Sprintf("m%d.example", i))
			}
			if name, _ := table.name(a); name != "mine.example" {
				t.Fatalf("shortly after, %s stands for %q", a, name)
			}
		}
	}
}
