package gate

import (
	"mcpgateway/policy"
	"mcpgateway/policy/authn"
)

// Current is what the fronts enforce now: one policy generation.
type Current struct {
	Policy *policy.Policy
	Keys   *authn.APIKeys
	Gate   *Gate
}
