package traffic

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBuckets(t *testing.T) {
	t.Parallel()
	before := -1
	for _, v := range []uint64{0, 1, 127, 128, 255, 256, 257, 258, 511, 512, 1 << 20, 1<<20 + 1<<14, 1 << 40, 1<<63 - 1} {
		i := bucket(v)
		if i < before || i >= buckets {
			t.Errorf("%d: got bucket %d after %d, of %d", v, i, before, buckets)
		}
		if end := last(i); end < v || float64(end-v) > float64(v)/sub {
			t.Errorf("%d: its bucket ends at %d", v, end)
		}
		if i > 0 && last(i-1) >= v {
			t.Errorf("%d: the bucket before its own ends at %d", v, last(i-1))
		}
		before = i
	}
}

func TestPercentiles(t *testing.T) {
	t.Parallel()
	var h, other Histogram
	var all []time.Duration
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 10000 {
		d := time.Duration(random.ExpFloat64() * float64(time.Millisecond))
		all = append(all, d)
		if i%2 == 0 {
			h.Add(d)
		} else {
			other.Add(d)
		}
	}
	h.Merge(&other)
	slices.Sort(all)
	for _, p := range []float64{0, 1, 50, 95, 99, 99.9, 100} {
		want := all[max(0, int(p/100*10000)-1)]
		if got := h.Percentile(p); got < want || float64(got-want) > float64(want)/sub {
			t.Errorf("percentile %v: got %v, want %v", p, got, want)
		}
	}
	if h.Count() != 10000 {
		t.Errorf("got %d durations, want 10000", h.Count())
	}
}

func TestPercentileOfFew(t *testing.T) {
	t.Parallel()
	var h Histogram
	if got := h.Percentile(50); got != 0 {
		t.Errorf("of nothing: got %v, want 0", got)
	}
	h.Add(-time.Second)
	h.Add(1000003)
	if got := h.Percentile(50); got != 0 {
		t.Errorf("the first of two: got %v, want 0", got)
	}
	if got := h.Percentile(99); got != 1000003 {
		t.Errorf("the second of two: got %v, want the longest itself", got)
	}
}
