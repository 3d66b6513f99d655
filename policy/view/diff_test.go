package view

import (
	"slices"
	"testing"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	set, _, err := load(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	strict, _ := set.Get("strict")
	client, _ := set.Get("network-client")
	changes := Diff(strict, client)
	find := func(key string) Change {
		i := slices.IndexFunc(changes, func(c Change) bool { return c.Key == key })
		if i < 0 {
			t.Fatalf("got %+v, want %s in it", changes, key)
		}
		return changes[i]
	}
	for _, want := range []Change{
		{"network.mode", `"none"`, `"allow"`, 1}, {"syscalls.base", `"@strict"`, `"@default"`, 1},
		{"limits.memory_max", `"256M"`, "0", 1}, {"limits.cpu_weight", "50", "100", 0},
	} {
		if got := find(want.Key); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	for _, back := range Diff(client, strict) {
		if c := find(back.Key); c.A != back.B || c.B != back.A || c.Weaker != -back.Weaker {
			t.Errorf("backwards: got %+v, want the opposite of %+v", back, c)
		}
	}
	if got := Diff(strict, strict); len(got) != 0 {
		t.Errorf("with itself: got %+v", got)
	}
}
