package fleet

import (
	"cmp"
	"slices"

	"mcpgateway/proxy/breaker"
)

// State is an instance and the breaker of its place. A place can have several, or none
// at the moment.
type State struct {
	breaker.State
	Sandbox  string // "" without an instance
	InFlight int
}

// States lists the instances that are not of one session alone, and the breakers that
// are not as good as new, sorted.
func (f *Fleet) States() []State {
	known := f.breakers.States()
	f.mu.Lock()
	defer f.mu.Unlock()
	instances := map[breaker.Place][]*instance{}
	for k, s := range f.slots {
		if at, running := placeOf(k, s.subject), s.running(); running != nil {
			instances[at] = append(instances[at], running)
		}
	}
	var all []State
	for _, state := range known {
		if instances[state.Place] == nil {
			all = append(all, State{State: state})
		}
		for _, one := range instances[state.Place] {
			all = append(all, State{state, one.conn.Sandbox(), one.conn.InFlight()})
		}
		delete(instances, state.Place)
	}
	for at, some := range instances {
		for _, one := range some {
			all = append(all, State{breaker.State{Place: at, State: breaker.Closed}, one.conn.Sandbox(), one.conn.InFlight()})
		}
	}
	slices.SortFunc(all, func(a, b State) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Sandbox, b.Sandbox))
	})
	return all
}

// running is the slot's instance; nil if it is on its way.
func (s *slot) running() *instance {
	select {
	case <-s.ready:
		return s.instance
	default:
		return nil
	}
}
