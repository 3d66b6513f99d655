package authn

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// How issuers' keys are kept up to date.
const (
	keysFresh   = 5 * time.Minute  // used without a question
	keysUsable  = 10 * time.Minute // used while new ones are fetched; older ones wait for that
	keysLast    = 24 * time.Hour   // used while no others can be had
	refetchRest = 10 * time.Second // between two fetches for keys that are not known
	minBackoff  = time.Second
	maxBackoff  = 5 * time.Minute
)

// sourceKey says whose keys a source knows. It has all that their fetching depends on.
type sourceKey struct {
	issuer, jwks string
	ca           string // PEM
}

// keySource knows the keys of one issuer. It has no goroutine of its own: who asks
// starts a fetch when it is time, at most one at a time.
type keySource struct {
	key     sourceKey
	state   *State
	fetcher *fetcher
	used    time.Time // guarded by the state's mu

	mu       sync.Mutex
	set      *keySet // nil: none yet
	fetched  time.Time
	tried    time.Time
	failures int
	next     time.Time // not before
	why      error     // of the last failure
	pending  chan struct{}
}

func newKeySource(key sourceKey, state *State) (*keySource, error) {
	fetcher, err := newFetcher(key)
	if err != nil {
		return nil, err
	}
	return &keySource{key: key, state: state, fetcher: fetcher}, nil
}

// current returns the keys, and waits for them only if those that it has are too old.
func (s *keySource) current(ctx context.Context) (*keySet, error) {
	now := s.state.now()
	s.mu.Lock()
	age := now.Sub(s.fetched)
	known := s.usableLocked(now)
	if known != nil && age < keysFresh {
		s.mu.Unlock()
		return known, nil
	}
	pending := s.pending
	if pending == nil && !now.Before(s.next) {
		pending = s.startLocked(now)
	}
	s.mu.Unlock()
	if known != nil && (age < keysUsable || pending == nil) {
		return known, nil
	}
	return s.await(ctx, pending)
}

// prepare fetches the keys if there are none yet.
func (s *keySource) prepare() {
	now := s.state.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.usableLocked(now) == nil && s.pending == nil && !now.Before(s.next) {
		s.startLocked(now)
	}
}

// refetch asks the issuer again, because of a key that is not known, but not often.
func (s *keySource) refetch(ctx context.Context) (*keySet, error) {
	now := s.state.now()
	s.mu.Lock()
	pending := s.pending
	if pending == nil && now.Sub(s.tried) >= refetchRest && !now.Before(s.next) {
		pending = s.startLocked(now)
	}
	s.mu.Unlock()
	return s.await(ctx, pending)
}

// await returns the keys that there are after a fetch; if pending is nil, those that
// there are now.
func (s *keySource) await(ctx context.Context, pending chan struct{}) (*keySet, error) {
	if pending != nil {
		select {
		case <-pending:
		case <-ctx.Done():
			return nil, &Error{Kind: Unavailable, Text: "the keys of the token's issuer did not come in time", RetryAfter: time.Second}
		}
	}
	now := s.state.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.usableLocked(now); known != nil {
		return known, nil
	}
	return nil, s.unavailableLocked(now)
}

// outage returns an error if the issuer did not answer when it was asked last: a key
// that is not known may be a new one then.
func (s *keySource) outage() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why == nil {
		return nil
	}
	return s.unavailableLocked(s.state.now())
}

func (s *keySource) unavailableLocked(now time.Time) *Error {
	wait := max(time.Second, s.next.Sub(now))
	return &Error{Kind: Unavailable, Text: fmt.Sprintf("the keys of the issuer %.200q can't be had now", s.key.issuer), RetryAfter: wait}
}

func (s *keySource) usableLocked(now time.Time) *keySet {
	if s.set == nil || now.Sub(s.fetched) >= keysLast {
		return nil
	}
	return s.set
}

func (s *keySource) startLocked(now time.Time) chan struct{} {
	pending := make(chan struct{})
	started := s.state.start(func(ctx context.Context) {
		set, err := s.fetcher.fetch(ctx)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pending = nil
		s.noteLocked(set, err)
		close(pending)
	})
	if !started {
		s.why = errStopped
		return nil
	}
	s.pending, s.tried = pending, now
	return pending
}

func (s *keySource) noteLocked(set *keySet, err error) {
	now := s.state.now()
	if err == nil {
		s.set, s.fetched, s.failures, s.next, s.why = set, now, 0, time.Time{}, nil
		return
	}
	backoff := min(maxBackoff, minBackoff<<min(s.failures, 16))
	// Half of it by chance: gateways that lost the issuer together don't come back so.
	s.next = now.Add(backoff/2 + rand.N(backoff/2)) //nolint:gosec // G404: no secret
	s.failures++
	s.why = err
}

// problem says why the last fetch failed, nil if it did not.
func (s *keySource) problem() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}
