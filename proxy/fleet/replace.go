package fleet

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
)

// RestartedError says that an operator has a server's instances replaced.
type RestartedError struct{ Server string }

func (e *RestartedError) Error() string {
	return fmt.Sprintf("server %q was restarted by an operator", e.Server)
}

// Replace has other instances take the place of all that a server has. Those get no new
// calls, and end when the calls in flight have. Replicas of a shared server are replaced
// one after the other, and the first that does not start is the last: the others go on.
// It returns how many instances end, and those in their place that it has waited for.
func (f *Fleet) Replace(ctx context.Context, spec *Spec) (ending int, started []string, err error) {
	f.log.Info("server restarted by an operator", "server", spec.Server)
	cause := &RestartedError{spec.Server}
	fresh := map[*backend.Conn]bool{}
	f.drainSpares(spec.Server, cause, &ending) // none of them may take the place of another
	for _, k := range f.replicas(spec) {
		next, err := f.replace(ctx, spec, k, cause)
		if err != nil {
			return ending, started, err
		}
		ending++
		fresh[next.conn] = true
		started = append(started, next.conn.Sandbox())
	}
	for _, spare := range f.spareConns(spec.Server) { // that came meanwhile
		fresh[spare] = true
	}
	return ending + f.pool.Drain(spec.Server, cause, fresh), started, nil
}

// replicas are the places of a shared server that have an instance, in order.
func (f *Fleet) replicas(spec *Spec) (keys []key) {
	if spec.Instances != policy.InstancesShared {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for k, s := range f.slots {
		if k.server == spec.Server && s.running() != nil && !s.over() {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b key) int { return cmp.Compare(a.owner, b.owner) })
	return keys
}

// replace has another instance take a place, and waits for it.
func (f *Fleet) replace(ctx context.Context, spec *Spec, k key, cause error) (*instance, error) {
	spec = f.newest(spec)
	f.mu.Lock()
	before := f.slots[k].serving()
	f.mu.Unlock()
	if before != nil {
		before.conn.Drain(cause)
	}
	f.mu.Lock()
	s := f.slots[k] // somebody who calls may have claimed it
	if s == nil || s.over() {
		s = f.claimLocked(ctx, spec, k, "")
	}
	f.mu.Unlock()
	select {
	case <-s.ready:
		return s.instance, s.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// drainSpares ends the spare instances of a server, and has as many be started anew.
func (f *Fleet) drainSpares(server string, cause error, ending *int) {
	for _, spare := range f.spareConns(server) {
		spare.Drain(cause)
		*ending++
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.spares[server]; s != nil {
		s.wake()
		if spec := f.known(server); spec != nil && !f.closed && s.want == 0 && *ending > 0 { // nobody keeps them up
			f.running.Go(func() { f.hold(spec) })
		}
	}
}

func (f *Fleet) spareConns(server string) (conns []*backend.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.spares[server]; s != nil {
		for _, spare := range s.have {
			if !spare.conn.Leaving() {
				conns = append(conns, spare.conn)
			}
		}
	}
	return conns
}
