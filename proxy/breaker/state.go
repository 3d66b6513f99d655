package breaker

import (
	"cmp"
	"slices"
	"time"
)

// Closed is the state of a breaker that lets everything through.
const Closed = "closed"

// State is a breaker as operators see it.
type State struct {
	Place
	State    string    // Closed, "half-open" or "open"
	Failures int       // in a row
	Until    time.Time // when it may be tried again; zero unless it is open
	Cause    string    // of the last failure
}

// States lists the breakers of places where something has failed of late, sorted.
func (s *Set) States() []State {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []State
	for at, b := range s.places {
		all = append(all, b.state(at))
	}
	slices.SortFunc(all, func(a, b State) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.Instance, b.Instance))
	})
	return all
}

func (b *breaker) state(at Place) State {
	b.mu.Lock()
	defer b.mu.Unlock()
	state := b.circuit.State().String()
	failures := b.circuit.Counts().ConsecutiveFailures
	if !b.until.IsZero() {
		failures = b.failures
	}
	return State{at, state, int(failures), b.until, b.cause}
}

// Clear closes the breakers of all places of a server, and forgets what they counted.
func (s *Set) Clear(server string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, b := range s.places {
		if at.Server != server {
			continue
		}
		b.mu.Lock()
		b.tune(s, at, b.by) // requests in flight know the circuit that was
		b.cause = ""
		b.mu.Unlock()
		if b.users == 0 {
			s.forgetLocked(at)
		}
	}
}
