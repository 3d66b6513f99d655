package gate

import (
	"context"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/fleet"
)

// spec is what the fleet must know of a server.
func (g *Gate) spec(server string) fleet.Spec {
	s := g.policy.Servers[server]
	return fleet.Spec{
		Spec: backend.Spec{
			Server:          server,
			Revision:        s.Revision,
			Project:         s.Project,
			Gateway:         g.policy.Gateway,
			Timeout:         s.Timeout,
			MaxTimeout:      s.MaxTimeout,
			IdleTimeout:     s.IdleTimeout,
			FreezeAfter:     s.FreezeAfter,
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

		MaxPerCaller: g.policy.Limits.MaxSessionsPerCaller,
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
func (g *Gate) Reconcile() {
	specs := map[string]fleet.Spec{}
	for name := range g.policy.Servers {
		specs[name] = g.spec(name)
	}
	g.fleet.Reconcile(specs)
}
