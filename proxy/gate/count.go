package gate

// Count is how many sessions are open.
func (s *Sessions) Count() (open int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, held := range s.byID {
		if held.Err() == nil {
			open++
		}
	}
	return open
}
