package proxy

import (
	"cmp"
	"context"
	"fmt"

	"mcpgateway/policy"
	"mcpgateway/proxy/catalog"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/pins"
)

// parseLock refuses a file of approved tools that it can't enforce, by its name.
func parseLock(file policy.ToolLock) (pins.Lock, error) {
	lock, err := pins.ParseLock(file.Content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cmp.Or(file.Name, "tools.lock"), err)
	}
	return lock, nil
}

// pinModes gives the mode of every server.
func pinModes(rules *policy.Policy) map[string]policy.PinMode {
	modes := map[string]policy.PinMode{}
	for name, server := range rules.Servers {
		modes[name] = cmp.Or(server.ToolPins, policy.PinsOff)
	}
	return modes
}

// asked is what operators are told of a proxy.
type asked struct{ *Proxy }

// PinModes gives every server of the generation in force.
func (p asked) PinModes() map[string]policy.PinMode {
	if now := p.current.Load(); now != nil {
		return pinModes(now.Policy)
	}
	return nil
}

// States gives instances, and the breakers of their places.
func (p asked) States() []fleet.State { return p.fleet.States() }

// Listing asks a server for its tools.
func (p asked) Listing(ctx context.Context, server string) (pins.Listing, error) {
	now := p.current.Load().Gate
	member, known := now.Operator(server)
	if !known {
		return pins.Listing{}, fmt.Errorf("server %q is not there any more", server)
	}
	definitions, err := catalog.Tools(ctx, catalog.Member{Name: server, Server: member})
	if err != nil {
		return pins.Listing{}, fmt.Errorf("list the tools of server %q: %w", server, err)
	}
	return now.Pins().Listing(server, definitions), nil
}
