package authn

import (
	"context"
	"sync"
	"time"
)

// maxSourcesOfKeys bounds how many issuers are remembered, those of former policies
// too.
const maxSourcesOfKeys = 64

// State is what outlives policy generations: issuers' keys, verified tokens, and who
// has failed. It is safe for use by many.
type State struct {
	throttle throttle
	now      func() time.Time

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
	sources map[sourceKey]*keySource
	cache   *cache // of the newest rules
}

// NewState returns an empty one. It must be closed.
func NewState() *State {
	ctx, cancel := context.WithCancel(context.Background())
	return &State{now: time.Now, ctx: ctx, cancel: cancel, sources: make(map[sourceKey]*keySource)}
}

// Close ends what is under way, and returns when it has ended.
func (s *State) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.running.Wait()
}

// start runs f, unless the state is closed.
func (s *State) start(f func(ctx context.Context)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.running.Go(func() { f(s.ctx) })
	}
	return !s.closed
}

// source returns what knows the keys of an issuer, the same for each policy that
// says the same of it.
func (s *State) source(key sourceKey) (*keySource, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.sources[key]; ok {
		known.used = s.now()
		return known, nil
	}
	source, err := newKeySource(key, s)
	if err != nil {
		return nil, err
	}
	for len(s.sources) >= maxSourcesOfKeys {
		s.forgetOldestLocked()
	}
	source.used = s.now()
	s.sources[key] = source
	return source, nil
}

// forgetOldestLocked takes out the source that no policy has named for longest. A
// policy that still has it goes on with it.
func (s *State) forgetOldestLocked() {
	var oldest *keySource
	for _, source := range s.sources {
		if oldest == nil || source.used.Before(oldest.used) {
			oldest = source
		}
	}
	delete(s.sources, oldest.key)
}

// tokensOf returns the cache of tokens that were verified by the same rules.
func (s *State) tokensOf(rules [32]byte) *cache {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cache == nil || s.cache.rules != rules {
		s.cache = newCache(rules)
	}
	return s.cache
}
