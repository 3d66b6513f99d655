package fleet

import (
	"context"
	"strings"
	"testing"
	"time"

	"mcpgateway/policy"
)

// unready wants a server not to be ready, for a cause.
func (f *Fleet) unready(t *testing.T, server, cause string) {
	t.Helper()
	if err := f.Ready(server); err == nil || !strings.Contains(err.Error(), cause) {
		t.Errorf("got %v, want %q", err, cause)
	}
}

func (f *Fleet) mustBeReady(t *testing.T, server string) {
	t.Helper()
	if err := f.Ready(server); err != nil {
		t.Errorf("server %s: got %v, want that it is ready", server, err)
	}
}

func TestReady(t *testing.T) {
	for _, instances := range []policy.Instances{policy.InstancesPerSession, policy.InstancesShared} {
		t.Run(string(instances), func(t *testing.T) {
			fleet, _ := newFleet(t)
			s := restarted("modern")
			s.Instances, s.Replicas = instances, 2
			fleet.Reconcile(of(s))
			fleet.unready(t, "other", "not in the configuration")
			fleet.mustBeReady(t, "modern") // it can be started
			route := fleet.Server(s, by("key:a"))
			crash := request(t, "{}", "tools/call", `"name":"crash"`)
			waitFor(t, func() bool {
				if call, err := route.Do(t.Context(), crash); err == nil {
					await(t, call)
				}
				return fleet.Ready("modern") != nil
			})
			fleet.unready(t, "modern", "is not started any more")
			if instances == policy.InstancesPerSession {
				pid(t, fleet.Server(s, by("key:b")))
				fleet.mustBeReady(t, "modern") // it serves somebody
			}
			fleet.Stop("modern")
			fleet.unready(t, "modern", "stopped by an operator")
			fleet.Start("modern")
			fleet.mustBeReady(t, "modern")
		})
	}
}

// A server whose only instance does not answer is not ready, until it is given up.
func TestReadyAsChecksSay(t *testing.T) {
	fleet, opener := newFleet(t)
	s := spec("modern")
	fleet.Reconcile(of(s))
	first := pid(t, fleet.Server(s, by("key:a")))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- fleet.CheckHealth(ctx, opener, func() *policy.Health {
			return &policy.Health{Interval: 10 * time.Millisecond, Timeout: 300 * time.Millisecond}
		})
	}()
	defer func() { cancel(); <-ended }()
	fleet.mustBeReady(t, "modern")
	if err := opener.Freeze(t.Context(), fleet.conn(t).Sandbox()); err != nil {
		t.Fatal(err)
	}
	var why error
	waitFor(t, func() bool { why = fleet.Ready("modern"); return why != nil })
	if !strings.Contains(why.Error(), "none of its instances is well, of which there are 1: it did not answer server/discover within") {
		t.Errorf("got %v", why)
	}
	waitFor(t, func() bool { return fleet.Ready("modern") == nil })
	if pid(t, fleet.Server(s, by("key:a"))) == first {
		t.Error("got the instance that hangs")
	}
}
