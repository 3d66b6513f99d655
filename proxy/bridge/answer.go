package bridge

import (
	"time"

	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/mcp"
)

// leg is one request of the stateless era on its way through a call of the
// handshake era. A call whose server asks for input has several legs, one after
// the other.
type leg struct {
	*backend.Call
	bridge  *Stateless
	owner   string
	request mcp.Message
	level   int // least severity of log messages; below 0: none
	over    bool
}

// A server that asks for input may take askedTogether from one question of a round to
// the next, and askedInAll for all of them. Each round is one more request for the
// caller. Whoever is asked, a person or a model, takes so much longer that a server on a
// busy host has the time.
const (
	askedTogether = 50 * time.Millisecond
	askedInAll    = 5 * askedTogether
)

// Take returns what has come, in order. A request of the server ends the leg: the
// caller repeats its request with what was asked for, and what comes until then is for
// the next leg.
func (l *leg) Take() []mcp.Message {
	if l.over {
		return nil
	}
	var passed, asked []mcp.Message
	var round round
	for taken := l.Call.Take(); len(taken) > 0; taken = l.more(&round) {
		for _, m := range taken {
			switch {
			case m.Kind() == mcp.Response:
				return append(passed, l.answer(m))
			case m.Kind() == mcp.Request:
				round.asked()
				asked = append(asked, m)
			case l.passes(m):
				passed = append(passed, m)
			}
		}
	}
	if asked != nil {
		l.over = true
		passed = append(passed, l.bridge.park(l, asked))
	}
	return passed
}

// more waits for what comes together with what a server asked; nil if it has had
// enough time, or if nothing was asked.
func (l *leg) more(r *round) []mcp.Message {
	if r.enough == nil {
		return nil
	}
	for {
		select {
		case <-r.enough:
			return nil
		default:
		}
		select {
		case <-l.Ready():
			// Ready may be about messages that were taken already.
			if taken := l.Call.Take(); len(taken) > 0 {
				return taken
			}
		case <-r.enough:
			return nil
		}
	}
}

// round is the time that a server has for what it asks together. It ends however often
// the server asks.
type round struct {
	end    time.Time
	enough <-chan time.Time // nil until something was asked
}

func (r *round) asked() {
	now := time.Now()
	if r.enough == nil {
		r.end = now.Add(askedInAll)
	}
	r.enough = time.After(min(askedTogether, r.end.Sub(now)))
}

// passes keeps back what the caller did not ask for, and what its revision does
// not know.
func (l *leg) passes(m mcp.Message) bool {
	switch m.Method() {
	case mcp.MethodLogged:
		level, _ := m.Text(m.Param("level"))
		return l.level >= 0 && severity(level) >= l.level
	case "notifications/elicitation/complete":
		return false
	}
	return true
}

func (l *leg) answer(m mcp.Message) mcp.Message {
	if string(m.At(m.InError("code"))) == "-32042" {
		if wanted, ok := l.urlsWanted(m); ok {
			return wanted
		}
	}
	return m.Complete(l.request.Method(), l.bridge.info)
}
