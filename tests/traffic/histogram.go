package traffic

import (
	"math/bits"
	"time"
)

// A Histogram counts durations in buckets whose width grows with the duration, as HDR
// histograms do: 128 for each power of two, so that a percentile is at most 0.8 % above
// what was measured. It is not safe for concurrent use.
type Histogram struct {
	counts [buckets]uint64
	total  uint64
	max    time.Duration
}

const (
	subBits = 7
	sub     = 1 << subBits // 128
	buckets = sub * (64 - subBits)
)

// Add counts a duration; one below zero counts as zero.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(uint64(d))]++
	h.total++
	h.max = max(h.max, d)
}

// Merge adds what another has counted.
func (h *Histogram) Merge(other *Histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
	h.max = max(h.max, other.max)
}

// Count is how many durations there are.
func (h *Histogram) Count() uint64 { return h.total }

// Percentile is the least duration that p percent of all don't exceed, rounded up to
// the end of its bucket but never above the longest.
func (h *Histogram) Percentile(p float64) time.Duration {
	want := max(1, uint64(p/100*float64(h.total)+0.999999))
	var seen uint64
	for i, n := range h.counts {
		if seen += n; n > 0 && seen >= want {
			return min(time.Duration(last(i)), h.max)
		}
	}
	return h.max
}

// bucket: values below 2*sub have one each; above, a power of two is cut into sub.
func bucket(v uint64) int {
	shift := bits.Len64(v) - subBits - 1
	if shift <= 0 {
		return int(v)
	}
	return shift*sub + int(v>>shift)
}

// last is the largest value of a bucket.
func last(i int) uint64 {
	shift := i/sub - 1
	if shift <= 0 {
		return uint64(i)
	}
	return (uint64(i-shift*sub)+1)<<shift - 1
}
