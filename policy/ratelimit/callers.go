package ratelimit

import (
	"hash/maphash"
	"sync"
	"time"
)

// Bounds of what is remembered of callers.
const (
	shards     = 64
	maxCallers = 1024 // of a shard: 65,536 of all
	looks      = 4    // at other buckets, for each new one
	sweepEvery = time.Second
)

// callers has a bucket for each caller that is not as good as new. Who may make
// identities without end can't make it grow: a bucket that is full again is
// forgotten, which changes nothing for its caller, and above maxCallers those that
// are new share one bucket.
type callers struct {
	seed   maphash.Seed // secret, so that nobody can choose another's shard
	shards [shards]shard
}

type shard struct {
	mu     sync.Mutex
	known  map[string]*bucket
	others bucket    // of those that there is no room for
	swept  time.Time // when all of known were looked at
}

func newCallers() *callers {
	c := &callers{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].known = map[string]*bucket{}
	}
	return c
}

// find returns a caller's bucket, a new one if there is none.
func (c *callers) find(subject string, now time.Time) *bucket {
	s := &c.shards[maphash.String(c.seed, subject)%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.known[subject]; b != nil {
		return b
	}
	s.makeRoomLocked(now)
	if len(s.known) >= maxCallers {
		return &s.others
	}
	b := &bucket{}
	s.known[subject] = b
	return b
}

// makeRoomLocked forgets buckets that are as good as new: of a few, and if there is
// no room otherwise, of all, but not for every newcomer. mu must be held.
func (s *shard) makeRoomLocked(now time.Time) {
	most := looks
	if len(s.known) >= maxCallers && now.Sub(s.swept) >= sweepEvery {
		most, s.swept = len(s.known), now
	}
	for subject, b := range s.known { // begins somewhere else each time
		if most == 0 {
			return
		}
		most--
		if b.forget(now) {
			delete(s.known, subject)
		}
	}
}
