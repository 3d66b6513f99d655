package rbac

import (
	"encoding/binary"
	"encoding/json"
	"hash/maphash"
	"maps"
	"slices"
	"strconv"
	"sync/atomic"

	"mcpgateway/policy"
)

// rememberedCallers is how many callers' rules are kept, each with a project.
const rememberedCallers = 1024

// callers knows which rules are for whom. It remembers callers: who comes again costs
// no look at the bindings.
type callers struct {
	bindings   []binding
	user       map[string][]int // indexes of bindings, as the three below
	group      map[string][]int
	key        map[string][]int
	others     []int           // with certificates, or for everybody
	roles      map[string]set  // the rules of each role and of those that it extends
	credential map[string]bool // roles that a credential may name
	claims     []string        // that bindings look at, sorted
	size       int             // of all rules

	seed  maphash.Seed
	known [rememberedCallers]atomic.Pointer[caller]
}

// caller is what is remembered: key is all that the answer depends on.
type caller struct {
	key   string
	rules set
}

type binding struct {
	policy.Binding
	certificates, projects []glob
}

func newCallers(data *policy.RBAC, roles map[string]set, size int) *callers {
	c := &callers{
		user: map[string][]int{}, group: map[string][]int{}, key: map[string][]int{},
		roles: roles, credential: map[string]bool{}, size: size, seed: maphash.MakeSeed(),
	}
	for name, role := range data.Roles {
		c.credential[name] = role.FromCredential
	}
	claims := make(map[string]bool)
	for i, b := range data.Bindings {
		c.bindings = append(c.bindings, binding{b, globs(b.Certificates), globs(b.Projects)})
		for _, user := range b.Users {
			c.user[user] = append(c.user[user], i)
		}
		for _, group := range b.Groups {
			c.group[group] = append(c.group[group], i)
		}
		for _, key := range b.Keys {
			c.key[key] = append(c.key[key], i)
		}
		anybody := len(b.Users)+len(b.Groups)+len(b.Keys)+len(b.Certificates) == 0
		if anybody || len(b.Certificates) > 0 || slices.Contains(b.Users, "*") {
			c.others = append(c.others, i)
		}
		for claim := range b.Claims {
			claims[claim] = true
		}
	}
	c.claims = slices.Sorted(maps.Keys(claims))
	return c
}

func globs(patterns []string) (out []glob) {
	for _, pattern := range patterns {
		out = append(out, newGlob(pattern))
	}
	return out
}

func matchAny(globs []glob, text string) bool {
	return slices.ContainsFunc(globs, func(g glob) bool { return g.match(text) })
}

// rules returns the rules that are for id in a project. The set must not be changed.
// buffer is for the key, and returned for the next time.
func (c *callers) rules(id *policy.Identity, project string, buffer []byte) (set, []byte) {
	buffer = c.appendKey(buffer[:0], id, project)
	slot := &c.known[maphash.Bytes(c.seed, buffer)%rememberedCallers]
	if known := slot.Load(); known != nil && known.key == string(buffer) {
		return known.rules, buffer
	}
	found := &caller{string(buffer), newSet(c.size)}
	for role := range c.held(id, project) {
		found.rules.or(c.roles[role])
	}
	slot.Store(found)
	return found.rules, buffer
}

// appendKey writes all that rules depends on. No two callers have the same key whose
// rules differ: each part says how long it is.
func (c *callers) appendKey(key []byte, id *policy.Identity, project string) []byte {
	key = appendText(key, project)
	key = appendText(key, id.User)
	key = appendText(key, id.Key)
	key = appendText(key, id.Certificate)
	for _, list := range [...][]string{id.Groups, id.Roles, id.Scopes} {
		key = binary.AppendUvarint(key, uint64(len(list)))
		for _, text := range list {
			key = appendText(key, text)
		}
	}
	for _, claim := range c.claims {
		values, isList := id.Claims[claim].([]any)
		if !isList {
			key = appendClaim(append(key, 'v'), id.Claims[claim])
			continue
		}
		key = binary.AppendUvarint(append(key, 'l'), uint64(len(values)))
		for _, value := range values {
			key = appendClaim(key, value)
		}
	}
	return key
}

func appendText(key []byte, text string) []byte {
	return append(binary.AppendUvarint(key, uint64(len(text))), text...)
}

func appendClaim(key []byte, value any) []byte {
	text, ok := claimText(value)
	if !ok {
		return append(key, 0)
	}
	return appendText(append(key, 1), text)
}

// claimText is what a claim's value is compared as.
func claimText(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// held gives the roles that a caller has, each with the binding that gave it, or -1
// if the credential names it.
func (c *callers) held(id *policy.Identity, project string) map[string]int {
	out := make(map[string]int)
	give := func(candidates []int) {
		for _, i := range candidates {
			b := &c.bindings[i]
			if had, ok := out[b.Role]; (!ok || i < had) && b.holds(id, project) {
				out[b.Role] = i
			}
		}
	}
	give(c.others)
	if id.User != "" {
		give(c.user[id.User])
	}
	if id.Key != "" {
		give(c.key[id.Key])
	}
	for _, group := range id.Groups {
		give(c.group[group])
	}
	for _, role := range id.Roles {
		if _, had := out[role]; !had && c.credential[role] {
			out[role] = -1
		}
	}
	return out
}

// holds reports whether a binding is for a caller in a project.
func (b *binding) holds(id *policy.Identity, project string) bool {
	return b.names(id) && b.wants(id) && (len(b.projects) == 0 || matchAny(b.projects, project))
}

func (b *binding) names(id *policy.Identity) bool {
	anybody := len(b.Users)+len(b.Groups)+len(b.Keys)+len(b.Certificates) == 0
	return anybody || slices.Contains(b.Users, "*") ||
		id.User != "" && slices.Contains(b.Users, id.User) ||
		id.Key != "" && slices.Contains(b.Keys, id.Key) ||
		id.Certificate != "" && matchAny(b.certificates, id.Certificate) ||
		slices.ContainsFunc(id.Groups, func(group string) bool { return slices.Contains(b.Groups, group) })
}

// wants reports whether a caller has all the claims and scopes.
func (b *binding) wants(id *policy.Identity) bool {
	for claim, want := range b.Claims {
		values, isList := id.Claims[claim].([]any)
		if !isList {
			values = []any{id.Claims[claim]}
		}
		if !slices.ContainsFunc(values, func(value any) bool { text, ok := claimText(value); return ok && text == want }) {
			return false
		}
	}
	return !slices.ContainsFunc(b.Scopes, func(scope string) bool { return !slices.Contains(id.Scopes, scope) })
}
