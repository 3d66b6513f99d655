package proxy

import (
	"context"
	"errors"
	"os"

	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/egress"
)

// serveNetwork serves each sandbox by the rules that it was started under.
func serveNetwork(record func(egress.Record), traffic func(project, server, sandbox string) *egress.Traffic) backend.Network {
	return func(ctx context.Context, spec backend.Spec, sandbox string, files []*os.File) error {
		rules, err := rulesOf(spec)
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			return err
		}
		return egress.Serve(ctx, egress.Instance{
			Server: spec.Server, Project: spec.Project, Sandbox: sandbox, Rules: rules, Record: record, Traffic: traffic(spec.Project, spec.Server, sandbox),
		}, files)
	}
}

func rulesOf(spec backend.Spec) (*egress.Rules, error) {
	if spec.Network == nil { // the daemon's generation is another
		return nil, errors.New("its sandbox has a network and the policy has no rules for it")
	}
	return egress.NewRules(spec.Network)
}
