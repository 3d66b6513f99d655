package fleet

import (
	"strings"
	"testing"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
)

// conn is the one instance that runs.
func (f *Fleet) conn(t *testing.T) *backend.Conn {
	t.Helper()
	var running []*backend.Conn
	waitFor(t, func() bool { running = f.pool.Conns(); return len(running) == 1 })
	return running[0]
}

// An instance that is given up counts as a failure of its place, and the next call has
// another.
func TestGivenUpInstanceIsReplaced(t *testing.T) {
	fleet, _ := newFleet(t)
	s := watched("modern")
	fleet.Reconcile(of(s))
	route := fleet.Server(s, by("key:a"))
	first := pid(t, route)
	unwell := fleet.conn(t)
	patients{fleet}.GiveUp(unwell, "it is silent")
	if pid(t, route) == first {
		t.Error("the instance that was given up has got a call")
	}
	<-unwell.Done()
	s.Breaker.Failures = 1
	patients{fleet}.GiveUp(fleet.conn(t), "it is silent")
	_, err := route.Do(t.Context(), request(t, "{}", "tools/list", ""))
	refused(t, err, `server "modern" was stopped: it is silent`)
}

// What is not one caller's alone is started again without a call.
func TestGivenUpInstanceIsReplacedAtOnce(t *testing.T) {
	for _, name := range []string{"shared", "ahead"} {
		t.Run(name, func(t *testing.T) {
			fleet, opener := newFleet(t)
			s := spec("modern")
			if name == "shared" {
				s.Instances = policy.InstancesShared
				fleet.Reconcile(of(s))
				pid(t, fleet.Server(s, by("key:a")))
			} else {
				fleet.Reconcile(of(s))
				if err := fleet.Warm(t.Context(), s); err != nil {
					t.Fatal(err)
				}
			}
			patients{fleet}.GiveUp(fleet.conn(t), "it is silent")
			waitFor(t, func() bool { return fleet.spare("modern") > 0 && !fleet.spareIsLeaving("modern") })
			before := len(opener.Opened())
			pid(t, fleet.Server(s, by("key:a")))
			if got := len(opener.Opened()); got != before {
				t.Errorf("got %d instances started by the call, want that it has the one that was", got-before)
			}
		})
	}
}

func (f *Fleet) spareIsLeaving(server string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.hasSpareLocked(server)
}

// A subscription of an instance that is given up ends well, so that its client makes it
// again.
func TestGivenUpInstanceEndsSubscriptions(t *testing.T) {
	for _, server := range []string{"echo", "modern"} {
		fleet, _ := newFleet(t)
		route := fleet.Server(spec(server), by("key:a"))
		call, err := route.Do(t.Context(), request(t, "{}", "subscriptions/listen", `"notifications":{"toolsListChanged":true}`))
		if err != nil {
			t.Fatal(err)
		}
		<-call.Ready()
		patients{fleet}.GiveUp(fleet.conn(t), "it is silent")
		if answer := await(t, call); answer.Err() != nil || !strings.Contains(string(answer.Raw()), `"resultType":"complete"`) {
			t.Errorf("%s: got %s", server, answer.Raw())
		}
	}
}
