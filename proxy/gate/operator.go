package gate

import (
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/pins"
)

// operator owns instances that the operator asks. No caller's subject is like it:
// those have their method and a colon before them.
const operator = "operator"

// Pins are what the gate knows of tools; nil without.
func (g *Gate) Pins() *pins.View { return g.rules.Pins }

// Operator returns a server as the operator asks it: in an instance that no caller
// uses, unless it is shared, and past all that is decided about callers. ok is false if
// there is no such server.
func (g *Gate) Operator(server string) (asked link.Server, ok bool) {
	if _, known := g.policy.Servers[server]; !known {
		return nil, false
	}
	return g.fleet.Server(g.spec(server), fleet.Owner{Subject: operator}), true
}
