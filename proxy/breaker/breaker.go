// Package breaker leaves an instance of a server alone that fails again and again,
// so that its callers learn that at once. A breaker belongs to the place that an
// instance fills and not to the process: one that crashes, is started again and
// crashes again is one that fails again and again. The package starts and stops
// nothing; it says whether a request may go to a place now.
//
// Runs in: proxy.
package breaker

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"mcpgateway/policy"
)

// Place is what instances fill, one after the other.
type Place struct {
	Server   string
	Instance string // "replica:2" of a shared server; else "identity:SUBJECT", whatever the caller has
}

// maxPlaces bounds what is remembered. Beyond it, places without requests in flight
// whose breaker is not open are forgotten; if there are none, new places have no
// breaker.
const (
	maxPlaces  = 4096
	sweepEvery = time.Second
)

// Set is the breakers of all places where something has failed of late.
type Set struct {
	log *slog.Logger

	some atomic.Bool // there are places

	mu     sync.Mutex
	places map[Place]*breaker
	swept  time.Time // when room was looked for
}

// Some reports whether there is a place where something has failed of late.
func (s *Set) Some() bool { return s.some.Load() }

// breaker is that of one place. Locks are taken in the order Set.mu, mu.
type breaker struct {
	users int // requests in flight; guarded by Set.mu

	mu       sync.Mutex
	by       policy.Breaker
	circuit  *gobreaker.TwoStepCircuitBreaker[struct{}]
	cause    string    // of the last failure
	failures uint32    // in a row, before it opened
	until    time.Time // when it may be tried again; zero unless it is open
}

// New returns a set of breakers that are all closed. Their changes are told to log.
func New(log *slog.Logger) *Set { return &Set{log: log, places: map[Place]*breaker{}} }

// OpenError says that a request was refused by a breaker.
type OpenError struct {
	Server string
	Until  time.Time // when it is worth trying again
	Cause  string    // the last failure, a sentence for the caller
}

func (e *OpenError) Error() string {
	return fmt.Sprintf("server %q is left alone for a while because it failed again and again: %s", e.Server, e.Cause)
}

// Refusal is why a request to a place would be refused now, an *OpenError; nil if it
// would not be.
func (s *Set) Refusal(at Place) error {
	s.mu.Lock()
	b := s.places[at]
	s.mu.Unlock()
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	state, counts := b.circuit.State(), b.circuit.Counts()
	if state == gobreaker.StateClosed || state == gobreaker.StateHalfOpen && int(counts.Requests-counts.TotalExclusions) < b.by.HalfOpen {
		return nil
	}
	return b.openLocked(at)
}

// Enter lets a request go to a place, or refuses it with an *OpenError. by is nil for
// a place without a breaker.
func (s *Set) Enter(at Place, by *policy.Breaker) (*Pass, error) {
	pass := &Pass{set: s, at: at, by: by}
	b := s.use(at, by, false)
	if b == nil { // nothing has failed: the pass finds the breaker if it fails
		return pass, nil
	}
	done, err := b.allow(s, at, *by)
	if err != nil {
		s.leave(at, b)
		return nil, err
	}
	pass.of, pass.done = b, done
	return pass, nil
}

func (b *breaker) allow(s *Set, at Place, by policy.Breaker) (done func(error), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.by != by {
		b.tune(s, at, by)
	}
	if done, err = b.circuit.Allow(); err != nil {
		return nil, b.openLocked(at)
	}
	return done, nil
}

// Failed counts a failure of a place to which there was no request, such as that of a
// start.
func (s *Set) Failed(at Place, by *policy.Breaker, cause error) {
	if pass, err := s.Enter(at, by); err == nil {
		pass.Fail(cause.Error())
	}
}

// use finds the breaker of a place and keeps it from being forgotten. If there is none,
// one is made if it is needed.
func (s *Set) use(at Place, by *policy.Breaker, needed bool) *breaker {
	if by == nil || !needed && !s.Some() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.places[at]
	if b == nil {
		if !needed || len(s.places) >= maxPlaces && !s.makeRoomLocked() {
			return nil
		}
		b = &breaker{}
		b.tune(s, at, *by)
		s.places[at] = b
		s.some.Store(true)
	}
	b.users++
	return b
}

// join has the outcome of a request count that went to a place when nothing had failed
// there. If the breaker is not closed any more, it says nothing new.
func (s *Set) join(at Place, by *policy.Breaker, failed bool) (b *breaker, done func(error)) {
	if b = s.use(at, by, failed); b == nil {
		return nil, nil
	}
	b.mu.Lock()
	closed := b.circuit.State() == gobreaker.StateClosed
	if closed {
		done, _ = b.circuit.Allow() // one that is closed does
	}
	b.mu.Unlock()
	if !closed {
		s.leave(at, b)
		return nil, nil
	}
	return b, done
}

func (s *Set) makeRoomLocked() bool {
	now := time.Now()
	if now.Sub(s.swept) < sweepEvery {
		return false
	}
	s.swept = now
	for at, b := range s.places {
		b.mu.Lock()
		if b.users == 0 && b.circuit.State() != gobreaker.StateOpen {
			s.forgetLocked(at)
		}
		b.mu.Unlock()
	}
	return len(s.places) < maxPlaces
}

// leave ends a use. A breaker that is as good as new is forgotten.
func (s *Set) leave(at Place, b *breaker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.users--
	if b.users == 0 && b.fresh() {
		s.forgetLocked(at)
	}
}

func (s *Set) forgetLocked(at Place) {
	delete(s.places, at)
	s.some.Store(len(s.places) > 0)
}

func (b *breaker) fresh() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.circuit.State() == gobreaker.StateClosed && b.circuit.Counts().ConsecutiveFailures == 0
}

// tune makes the breaker a closed one by these numbers. Nobody else may have it, or mu
// must be held.
func (b *breaker) tune(s *Set, at Place, by policy.Breaker) {
	b.by, b.until = by, time.Time{}
	failures := uint32(by.Failures) // at most 1,000,000
	b.circuit = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:  uint32(by.HalfOpen), // at most 1000
		Interval:     by.Window,
		BucketPeriod: max(1, by.Window/10),
		Timeout:      by.OpenFor,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			b.failures = c.ConsecutiveFailures
			return c.ConsecutiveFailures >= failures && c.TotalFailures >= failures // the latter are those of the window
		},
		IsExcluded:    func(err error) bool { return errors.Is(err, errUncounted) },
		OnStateChange: func(_ string, from, to gobreaker.State) { b.changedLocked(s.log, at, from, to) },
	})
}

var (
	errUncounted = errors.New("neither success nor failure")
	errFailed    = errors.New("failure")
)

// changedLocked is called by the circuit, which is only ever used under mu.
func (b *breaker) changedLocked(log *slog.Logger, at Place, from, to gobreaker.State) {
	b.until = time.Time{}
	log = log.With("server", at.Server, "instance", at.Instance, "from", from.String(), "to", to.String())
	if to != gobreaker.StateOpen {
		log.Info("circuit breaker changed")
		return
	}
	b.until = time.Now().Add(b.by.OpenFor)
	log.Warn("circuit breaker opened", "failures", b.failures, "until", b.until, "err", b.cause)
}

// openLocked is the refusal of a breaker that is not closed. One that is being tried
// may be closed at any time.
func (b *breaker) openLocked(at Place) *OpenError {
	until := b.until
	if until.IsZero() {
		until = time.Now().Add(min(time.Second, b.by.OpenFor))
	}
	return &OpenError{at.Server, until, b.cause}
}
