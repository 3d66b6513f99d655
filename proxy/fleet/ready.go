package fleet

import (
	"errors"
	"fmt"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/breaker"
)

// Ready is why a server of the last Reconcile can take no call now; nil if it can: an
// instance of it is well, or can be started. A server that is not shared can be started
// for somebody new, unless all that is known speaks against it: its instances fail their
// checks, or each caller who had one is refused another.
func (f *Fleet) Ready(server string) error {
	spec := f.known(server)
	if spec == nil {
		return errors.New("it is not in the configuration")
	}
	if err := f.pool.Barred(server); err != nil {
		return err
	}
	var resting error
	var ill string
	instances, startable := 0, false
	for at, conns := range f.places(spec) {
		if err := f.resting(at, spec); err != nil {
			resting = err
			continue
		}
		startable = startable || len(conns) == 0
		for _, conn := range conns {
			why := f.health.Failing(conn)
			if why == "" {
				return nil
			}
			ill = why
			instances++
		}
	}
	switch {
	case startable && (ill == "" || spec.Instances == policy.InstancesShared):
		return nil
	case ill != "":
		return fmt.Errorf("none of its instances is well, of which there are %d: %s", instances, ill)
	}
	return resting
}

// places are where calls of a server can go, with the instances there. What single
// sessions have, and what nobody has yet, is at one place without a name; it is there,
// too, if nothing is known of the server.
func (f *Fleet) places(spec *Spec) map[breaker.Place][]*backend.Conn {
	places := map[breaker.Place][]*backend.Conn{}
	shared := spec.Instances == policy.InstancesShared
	for i := 0; shared && i < spec.Replicas; i++ {
		places[breaker.Place{Server: spec.Server, Instance: replicaKey(i)}] = nil
	}
	know := func(at breaker.Place) {
		if _, there := places[at]; !there && !shared && at.Server == spec.Server {
			places[at] = nil
		}
	}
	for _, state := range f.breakers.States() {
		know(state.Place)
	}
	for _, row := range f.restarts.Rows() {
		know(row.Place)
	}
	conns := f.pool.Conns()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, conn := range conns {
		if conn.Server() != spec.Server || conn.Leaving() {
			continue
		}
		at, held := f.placeLocked(conn)
		if held || !shared { // else it is spare: the next call may have it, at a place that is known
			places[at] = append(places[at], conn)
		}
	}
	if len(places) == 0 {
		places[breaker.Place{}] = nil
	}
	return places
}
