package gate

import (
	"hash/maphash"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/link"
)

// visitor is a caller at an address, and all that follows from that under one gate,
// whatever it asks for. It is never changed.
type visitor struct {
	caller *policy.Identity
	scope  policy.Scope
	names  []string      // of the servers that it may use there, sorted
	lists  func() string // for whom what they list is remembered
	guard  *guard        // of the scope
	server link.Server   // that the scope is, in the stateless era
}

// visitors remembers some: who comes again costs no decision. Those are not remembered of
// whom another time could decide otherwise.
type visitors struct {
	seed  maphash.Seed
	known [1024]atomic.Pointer[visitor]
}

func newVisitors() *visitors { return &visitors{seed: maphash.MakeSeed()} }

func (v *visitors) slot(subject string, scope policy.Scope) *atomic.Pointer[visitor] {
	hash := maphash.String(v.seed, subject)
	hash = hash*31 + maphash.String(v.seed, scope.Server)
	hash = hash*31 + maphash.String(v.seed, scope.Project)
	return &v.known[hash%uint64(len(v.known))]
}

// visit finds out what a caller may use at an address. Errors are those of Resolve.
func (g *Gate) visit(caller *policy.Identity, scope policy.Scope) (*visitor, error) {
	slot := g.visitors.slot(caller.Subject, scope)
	if v := slot.Load(); v != nil && v.scope == scope && same(v.caller, caller) {
		return v, nil
	}
	v, always, err := g.meet(caller, scope)
	if always && err == nil {
		slot.Store(v)
	}
	return v, err
}

// meet is visit for who has not come before, whose identity it keeps. It says also whether
// the answer is the same at every time.
func (g *Gate) meet(caller *policy.Identity, scope policy.Scope) (v *visitor, always bool, err error) {
	scope = policy.Scope{Server: strings.Clone(scope.Server), Project: strings.Clone(scope.Project)} // and nothing else of the request
	names, always, err := g.resolve(caller, scope)
	if err != nil {
		return nil, false, err
	}
	v = &visitor{caller: caller, scope: scope, names: names}
	owner := fleet.Owner{Subject: caller.Subject}
	v.lists = sync.OnceValue(func() string { return g.remembered(v.caller, owner) })
	v.guard = g.guard(v.caller, scope)
	v.server = v.at(owner, v.lists)
	return v, always, nil
}

// at is what a visitor's address means for an owner: a server, or the catalogue of all that
// the caller may use.
func (v *visitor) at(owner fleet.Owner, lists func() string) link.Server {
	g := v.guard.Gate
	if v.scope.Server != "" {
		return g.guarded(v.caller, v.scope.Server, owner)
	}
	return g.merged(v.caller, v.names, owner, lists())
}

// resolve says also whether the answer is the same at every time.
func (g *Gate) resolve(caller *policy.Identity, scope policy.Scope) (names []string, always bool, err error) {
	names, err = g.policy.Resolve(caller, scope)
	if err != nil {
		return nil, false, err
	}
	always = true
	now := time.Now()
	names = slices.DeleteFunc(names, func(name string) bool {
		if g.rules.RBAC == nil {
			return false
		}
		may, timeless := g.rules.RBAC.MayUse(caller, g.policy.Servers[name].Project, name, now)
		always = always && timeless
		return !may
	})
	if len(names) == 0 {
		return nil, false, &policy.DeniedError{Subject: caller.Subject, Scope: scope}
	}
	if scope.Server != "" {
		return names, always, g.scopes(caller, scope.Server)
	}
	return slices.DeleteFunc(names, func(name string) bool { return g.scopes(caller, name) != nil }), always, nil
}

// same reports whether two identities are alike in everything that anything could be
// decided by. Claims are if they are of the same token: no two are compared.
func same(a, b *policy.Identity) bool {
	return a == b || a.Subject == b.Subject && a.Name == b.Name && a.Method == b.Method && a.User == b.User &&
		a.Certificate == b.Certificate && a.Key == b.Key && a.Expires.Equal(b.Expires) &&
		slices.Equal(a.Servers, b.Servers) && slices.Equal(a.Projects, b.Projects) && slices.Equal(a.Groups, b.Groups) &&
		slices.Equal(a.Roles, b.Roles) && slices.Equal(a.Scopes, b.Scopes) && sameClaims(a.Claims, b.Claims)
}

func sameClaims(a, b map[string]any) bool {
	return len(a) == 0 && len(b) == 0 || reflect.ValueOf(a).UnsafePointer() == reflect.ValueOf(b).UnsafePointer()
}
