package httpfront

import (
	"sync"

	"mcpgateway/policy"
	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/resume"
)

// sessions are what clients may resume of their sessions, by the session's id. Nothing
// is kept of a session that is over.
type sessions struct {
	mu   sync.Mutex
	byID map[string]*resume.Session
}

func newSessions() *sessions { return &sessions{byID: map[string]*resume.Session{}} }

// of finds or makes the entry of a session that the gate has. Of one that has ended
// meanwhile, what is under way can be read, and not resumed.
func (s *sessions) of(g *gate.Gate, caller *policy.Identity, scope policy.Scope, id string) *resume.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.byID[id]; found != nil {
		return found
	}
	made := new(resume.Session)
	if err := g.AfterSession(caller, scope, id, func() { s.forget(id) }); err == nil {
		s.byID[id] = made
	}
	return made
}

func (s *sessions) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, id)
}
