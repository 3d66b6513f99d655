package gate

import (
	"context"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/fleet"
)

// spec is what the fleet must know of a server: the same for all calls of a generation. One
// that is not in it can't be started.
func (g *Gate) spec(server string) *fleet.Spec {
	if spec := g.specs[server]; spec != nil {
		return spec
	}
	return &fleet.Spec{Spec: backend.Spec{Server: server}}
}

func (g *Gate) makeSpecs() map[string]*fleet.Spec {
	specs := make(map[string]*fleet.Spec, len(g.policy.Servers))
	for name := range g.policy.Servers {
		specs[name] = g.makeSpec(name)
	}
	return specs
}

func (g *Gate) makeSpec(server string) *fleet.Spec {
	s := g.policy.Servers[server]
	return &fleet.Spec{
		Spec: backend.Spec{
			Server:          server,
			Revision:        s.Revision,
			Project:         s.Project,
			Gateway:         g.policy.Gateway,
			Timeout:         s.Timeout,
			MaxTimeout:      s.MaxTimeout,
			IdleTimeout:     s.IdleTimeout,
			FreezeAfter:     s.FreezeAfter,
			ReclaimAfter:    s.ReclaimAfter,
			MaxMessageBytes: int(g.policy.Limits.MaxMessageBytes),
			Shared:          s.Instances == policy.InstancesShared,
			Network:         s.Network,
			Tools:           s.Tools,
			Secrets:         s.Secrets,
			StderrLines:     g.policy.Logging.StderrLines,
			ToolsChanged:    g.toolsChanged(server),
			Stderr:          g.stderr(server),
		},
		Program:   s.Program,
		Instances: s.Instances,
		Replicas:  max(1, s.Replicas),
		Strategy:  s.Strategy,
		Warm:      s.Warm,
		Breaker:   s.Breaker,
		Restart:   s.Restart,
		OnCrash:   s.OnCrash,

		MaxPerCaller: g.policy.Limits.MaxInstancesPerCaller,
	}
}

// toolsChanged has the pins look at a server's tools again before the next call.
func (g *Gate) toolsChanged(server string) func() {
	if g.rules.Pins == nil {
		return nil
	}
	return func() { g.rules.Pins.Forget(server) }
}

func (g *Gate) stderr(server string) func(sandbox string, line []byte) {
	if g.rules.Stderr == nil {
		return nil
	}
	return func(sandbox string, line []byte) { g.rules.Stderr(server, sandbox, line) }
}

// Warm starts and initialises one instance of a server, to see that it works.
func (g *Gate) Warm(ctx context.Context, server string) error {
	return g.fleet.Warm(ctx, g.spec(server))
}

// Replace replaces the instances of a server: see fleet.Fleet.Replace.
func (g *Gate) Replace(ctx context.Context, server string) (ending int, started []string, err error) {
	return g.fleet.Replace(ctx, g.spec(server))
}

// Reconcile makes the policy hold for the instances: see fleet.Fleet.Reconcile.
func (g *Gate) Reconcile() { g.fleet.Reconcile(g.specs) }
