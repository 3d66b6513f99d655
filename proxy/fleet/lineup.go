package fleet

import (
	"sync/atomic"

	"mcpgateway/policy"
)

// lineup is the replicas of a shared server as they were found last, for calls to find
// theirs without the fleet's lock. A slot whose instance takes calls is still the one at its
// place; whatever else it shows has to be looked at again.
type lineup struct {
	spec  *Spec
	all   []int         // replicas
	slots []*slot       // of each; nil: there was none
	turn  *atomic.Int64 // of the strategy round-robin
}

// quick is the instance that serves an owner of a shared server, if that can be told from
// the lineup: nil, if one may have to be started, or if places of instances rest.
func (f *Fleet) quick(spec *Spec, owner Owner) *instance {
	if spec.Instances != policy.InstancesShared {
		return nil
	}
	found, _ := f.lineups.Load(spec.Server)
	l, _ := found.(*lineup)
	if l == nil || l.spec != spec || len(l.slots) > 1 && (f.breakers.Some() || f.restarts.Some()) {
		return nil
	}
	switch {
	case len(l.slots) == 1:
		return l.slots[0].serving()
	case spec.Strategy == policy.StrategyRoundRobin:
		return l.next()
	case spec.Strategy == policy.StrategyConsistentHash:
		return l.slots[rendezvous(owner.Subject, l.all)].serving()
	}
	return l.idlest()
}

// serving is the slot's instance, if it has one that takes calls.
func (s *slot) serving() *instance {
	if s == nil {
		return nil
	}
	if i := s.running(); i != nil && !i.conn.Leaving() {
		return i
	}
	return nil
}

// next is the instance whose turn it is; nil if there is none: it is not over then.
func (l *lineup) next() *instance {
	for {
		turn := l.turn.Load()
		i := l.slots[int((turn+1)%int64(len(l.slots)))].serving()
		if i == nil || l.turn.CompareAndSwap(turn, turn+1) {
			return i
		}
	}
}

// idlest is the instance with the fewest calls in flight; nil if all have some, and there
// may be one more.
func (l *lineup) idlest() (best *instance) {
	least, missing := 0, false
	for _, s := range l.slots {
		i := s.serving()
		if i == nil {
			missing = true
			continue
		}
		if busy := i.conn.InFlight(); best == nil || busy < least {
			best, least = i, busy
		}
	}
	if missing && least > 0 {
		return nil
	}
	return best
}

// lineUpLocked notes the replicas of a shared server. f.mu must be held.
func (f *Fleet) lineUpLocked(spec *Spec) {
	l := &lineup{spec: spec, all: make([]int, spec.Replicas), slots: make([]*slot, spec.Replicas), turn: f.turnsLocked(spec.Server)}
	for i := range l.slots {
		l.all[i] = i
		l.slots[i] = f.slots[key{server: spec.Server, owner: replicaKey(i)}]
	}
	f.lineups.Store(spec.Server, l)
}

// turnsLocked counts the turns of a server's replicas. f.mu must be held.
func (f *Fleet) turnsLocked(server string) *atomic.Int64 {
	if f.turns[server] == nil {
		f.turns[server] = new(atomic.Int64)
	}
	return f.turns[server]
}
