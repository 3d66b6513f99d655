package backend

import (
	"errors"
	"runtime"
	"testing"
	"time"
)

// sharing gives the shares of instances that have one limit, each with lines of a third of what one
// may hold.
func sharing(n int) (all *longs, shares []*long) {
	all = new(longs)
	for range n {
		shares = append(shares, &long{all: all, conn: &Conn{ending: make(chan struct{})}, most: maxLongEach / 3})
	}
	return all, shares
}

func TestLongLinesAreBounded(t *testing.T) {
	t.Parallel()
	_, shares := sharing(3)
	for i, want := range []int{3, 3, 0} { // the third has no room because of the others
		got := 0
		for shares[i].take(shares[i].most) == nil {
			got++
		}
		if got != want {
			t.Errorf("share %d: got %d lines, want %d", i, got, want)
		}
	}
	shares[0].give(shares[0].most)
	if freed := shares[2].take(shares[2].most); freed != nil {
		t.Error("got no room after some was given back")
	}
}

// What a line holds is given back when nobody has it any more, and who waits hears of that.
func TestLongLineIsHeldUntilItIsGarbage(t *testing.T) {
	t.Parallel()
	all, shares := sharing(1)
	l := shares[0]
	l.most = maxLongEach
	if err := l.Begin(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 2<<20, 3<<20)
	l.End(line)
	if all.held != 3<<20 || l.timer != nil {
		t.Fatalf("got %d bytes held, want those of the line", all.held)
	}
	part := line[1<<20 : 2<<20]
	runtime.GC()
	if freed := l.take(l.most); freed == nil {
		t.Fatal("got room beside a line that is held")
	}
	runtime.KeepAlive(part)
	if err := l.Begin(); err != nil { // has the garbage collected
		t.Fatal(err)
	}
	l.End(nil)
	if all.held != 0 {
		t.Errorf("got %d bytes held at the end", all.held)
	}
}

// What may be garbage is collected before much more is read.
func TestGarbageOfLongLinesIsCollected(t *testing.T) {
	forced := func() uint32 {
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.NumForcedGC
	}
	all, shares := sharing(1)
	before := forced()
	for _, size := range []int{maxGarbage - 1, 1, 2} {
		if err := shares[0].Begin(); err != nil {
			t.Fatal(err)
		}
		shares[0].End(make([]byte, size))
	}
	if got := forced() - before; got != 1 || all.fresh != 2 {
		t.Errorf("got %d collections and %d bytes since, want one, and 2", got, all.fresh)
	}
}

// An instance that ends does not wait for room.
func TestNoWaitForRoomAfterTheEnd(t *testing.T) {
	t.Parallel()
	_, shares := sharing(2)
	for shares[0].take(shares[0].most) == nil {
	}
	for shares[1].take(shares[1].most) == nil {
	}
	got := make(chan error)
	go func() { got <- shares[1].Begin() }()
	c := shares[1].conn
	c.mu.Lock()
	c.endLocked(errIdle)
	c.mu.Unlock()
	select {
	case err := <-got:
		if !errors.Is(err, errIdle) {
			t.Errorf("got error %v, want %v", err, errIdle)
		}
	case <-time.After(time.Minute):
		t.Error("it still waits")
	}
}
