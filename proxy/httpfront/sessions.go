package httpfront

import (
	"sync"

	"mcpgateway/policy"
	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/resume"
)

// sessions are what clients may resume of their sessions, by the session's id. It
// keeps nothing for long of a session that the gate does not have any more.
type sessions struct {
	mu   sync.Mutex
	byID map[string]held
}

type held struct {
	*resume.Session
	caller policy.Identity
	scope  policy.Scope
}

func newSessions() *sessions { return &sessions{byID: map[string]held{}} }

// of finds or makes the entry of a session that the gate has.
func (s *sessions) of(g *gate.Gate, caller policy.Identity, scope policy.Scope, id string) *resume.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.byID[id]
	if !ok {
		for other, h := range s.byID {
			if _, err := g.Revision(h.caller, h.scope, other); err != nil {
				delete(s.byID, other)
			}
		}
		found = held{new(resume.Session), caller, scope}
		s.byID[id] = found
	}
	return found.Session
}

func (s *sessions) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, id)
}
