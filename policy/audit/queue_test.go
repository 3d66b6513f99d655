package audit

import (
	"context"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestQueueLosesNothing: whoever waits for some gets all, in the order of each that adds.
func TestQueueLosesNothing(t *testing.T) {
	t.Parallel()
	const adders, each = 8, 2000
	q := newQueue()
	for adder := range adders {
		go func() {
			for n := range each {
				q.add(&entry{members: []byte{byte(adder), byte(n >> 8), byte(n)}})
			}
		}()
	}
	var last [adders]int
	patience := time.After(time.Minute)
	for left := adders * each; left > 0; {
		select {
		case <-q.some:
		case <-patience:
			t.Fatalf("%d did not come, and the queue has %d", left, q.length.Load())
		}
		for e := q.take(); e != nil; e = q.take() {
			adder, n := e.members[0], int(e.members[1])<<8|int(e.members[2])
			if last[adder] != n {
				t.Fatalf("got %d of %d, want %d", n, adder, last[adder])
			}
			last[adder]++
			left--
		}
	}
	if n := q.length.Load(); n != 0 {
		t.Errorf("got a length of %d of an empty queue", n)
	}
}

// TestSlotsServeAllWhoWait: there are never more than there are, and nobody waits for ever.
func TestSlotsServeAllWhoWait(t *testing.T) {
	t.Parallel()
	const most = 2
	s := newSlots(most)
	given, giveUp := context.WithCancel(t.Context())
	held := make(chan struct{}, most)
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for n := range 200 {
				ctx := t.Context()
				if (i+n)%7 == 0 {
					ctx = given // and such as give up, some at once
				}
				if s.acquire(ctx) != nil {
					continue
				}
				select {
				case held <- struct{}{}:
				default:
					t.Error("got more than there are")
				}
				if i == n {
					giveUp()
				}
				runtime.Gosched()
				<-held
				s.release()
			}
		})
	}
	all.Wait()
	giveUp()
	if free := s.free.Load(); free != most || s.waiting.Load() != 0 {
		t.Errorf("got %d free and %d who wait, want %d and none", free, s.waiting.Load(), most)
	}
}

// TestSlotsFreedAtOnce: each that is freed serves one who waits.
func TestSlotsFreedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const most = 1000
		s := newSlots(most)
		var served atomic.Int64
		for range 2 * most {
			go func() {
				if s.acquire(t.Context()) == nil {
					served.Add(1)
				}
			}()
		}
		synctest.Wait()
		if got := served.Load(); got != most {
			t.Fatalf("got %d served, want %d", got, most)
		}
		for range most {
			s.release()
		}
		synctest.Wait()
		if got := served.Load(); got != 2*most {
			t.Errorf("got %d served, want all", got)
		}
	})
}

// TestLagIsShort: a record that comes alone is in the file soon, without anything else.
func TestLagIsShort(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	l, _ := running(t, k)
	l.Apply(rules(), k.handover(k.path(), nil))
	write(t, l, Record{Event: EventCall})
	for patience := time.Now().Add(time.Minute); len(content(t, k.path())) < 2; {
		if time.Now().After(patience) {
			t.Fatal("it is not written")
		}
	}
}

func TestTimesAndAddresses(t *testing.T) {
	t.Parallel()
	for _, when := range []time.Time{
		time.Unix(0, 0), time.Unix(1764392400, 999999999), time.Unix(1764392400, 1000), time.Unix(1764392400, 120_000_999).In(time.FixedZone("", 3600)),
	} {
		if got, want := string(appendTime([]byte("x"), when)), "x"+when.UTC().Format("2006-01-02T15:04:05.000000Z"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for address, want := range map[string]string{
		"192.0.2.1": `,"source":"192.0.2.1"`, "2001:db8::1": `,"source":"2001:db8::1"`, `fe80::1%e"x`: `,"source":"fe80::1%e\"x"`,
	} {
		if got := string(appendAddress(nil, `,"source":`, netip.MustParseAddr(address))); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := appendAddress(nil, `,"source":`, netip.Addr{}); got != nil {
		t.Errorf("got %s of no address", got)
	}
	for _, text := range []string{"a\x7fb", "a\x1fb", `a"b`, `a\b`, "ab\u009b"} {
		if got := string(appendText(nil, text, maxText)); strings.ContainsAny(got, "\x7f\x1f\u009b") || len(got) <= len(text)+2 {
			t.Errorf("got %s of %q", got, text)
		}
	}
}
