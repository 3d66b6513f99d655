package gate

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"strconv"

	"mcpgateway/policy"
	"mcpgateway/proxy/catalog"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// merged is the catalogue of what a caller may use under one policy. Subscriptions
// to it end with that policy, since their members are those of their beginning: the
// client opens them anew, and has what it may use then.
type merged struct {
	*catalog.Catalog
	replaced <-chan struct{}
}

func (g *Gate) merged(caller *policy.Identity, names []string, owner fleet.Owner, lists string) *merged {
	members := make([]catalog.Member, len(names))
	for i, name := range names {
		members[i] = catalog.Member{Name: name, Server: g.guarded(caller, name, owner)}
	}
	return &merged{catalog.New(members, g.sessions.lists, lists, g.policy.Gateway), g.replaced}
}

// remembered is for whom lists are remembered. What a policy leaves out of them is
// left out under that policy alone, and for callers that it sees alike: one subject can
// have tokens of different groups.
func (g *Gate) remembered(caller *policy.Identity, owner fleet.Owner) string {
	whom := owner.String() + "\x00" + strconv.FormatUint(g.policy.Generation, 10)
	if g.rules.RBAC == nil {
		return whom
	}
	claims := maps.Clone(caller.Claims)
	maps.DeleteFunc(claims, func(name string, _ any) bool { return ofOneToken(name) })
	seen, err := json.Marshal([]any{caller.User, caller.Groups, caller.Roles, caller.Scopes, caller.Certificate, caller.Key, claims})
	if err != nil {
		panic(err) // claims were JSON
	}
	digest := sha256.Sum256(seen)
	return whom + "\x00" + string(digest[:])
}

// ofOneToken reports whether a claim differs from one token of a subject to the next
// (RFC 7519, section 4.1), and so says nothing of what its holder may see.
func ofOneToken(claim string) bool {
	switch claim {
	case "exp", "nbf", "iat", "jti":
		return true
	}
	return false
}

// Do passes a request on.
func (m *merged) Do(ctx context.Context, request mcp.Message) (link.Call, error) {
	call, err := m.Catalog.Do(ctx, request)
	if err != nil || request.Method() != mcp.MethodListen {
		return call, err
	}
	over := make(chan struct{})
	go func() { // ends with the call or with the policy
		select {
		case <-m.replaced:
			call.Cancel("the configuration has changed")
		case <-over:
		}
	}()
	return &ending{Call: call, over: over}, nil
}
