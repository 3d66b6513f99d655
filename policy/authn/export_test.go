package authn

import "time"

// SetClock turns the clock of a state, before anything is made with it.
func (s *State) SetClock(now func() time.Time) { s.now = now }

// Cached is how many tokens are remembered.
func (s *State) Cached() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.cache.tokens)
}

// ParseToken is what tokens are taken apart with.
func ParseToken(text string) error {
	_, err := parseJWS(text)
	return err
}

// Forget takes all tokens out of what is remembered.
func (s *State) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cache == nil {
		return
	}
	clear(s.cache.tokens)
	s.cache.bytes = 0
}
