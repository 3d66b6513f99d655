package rbac

import (
	"cmp"
	"fmt"
	"slices"

	"mcpgateway/policy"
)

// Explanation is a decision with all that had a part in it. It is for people, who have
// time: Decide does not make one.
type Explanation struct {
	Decision
	Roles []Held
	Rules []Considered // in the order of the file
}

// Held is a role that the caller has.
type Held struct {
	Role string
	From string // "given by policies.yaml:30:5", "named by the credential", or "extended by NAME"
}

// Considered is a rule that decided, or came close to it.
type Considered struct {
	Rule    string
	Effect  string // "allow" or "deny"
	Outcome string // "matches", or what of it does not
}

// Explain says why Decide decides as it does.
func (e *Engine) Explain(data *policy.RBAC, r *Request) Explanation {
	out := Explanation{Decision: e.Decide(r)}
	if r.Identity == nil || r.Identity.Subject == "" {
		return out
	}
	held := e.callers.held(r.Identity, r.Project)
	out.Roles = heldRoles(data, held)
	own := newSet(len(e.rules))
	for role := range held {
		own.or(e.callers.roles[role])
	}
	what := r.subject()
	placed := e.keep(func(s *scratch) { e.keepPlace(r, s) })
	named := e.keep(func(s *scratch) { e.keepNames(what, s) })
	in := &input{request: r, subject: what}
	for i := range e.rules {
		rule := &e.rules[i]
		outcome := ""
		switch {
		case !named.has(i):
			continue
		case own.has(i) && !placed.has(i):
			outcome = "is for another project or server"
		case !own.has(i) && placed.has(i):
			outcome = "the caller does not have the role"
		case !own.has(i):
			continue
		default:
			outcome = rule.outcome(in)
		}
		effect := "allow"
		if rule.Denies() {
			effect = "deny"
		}
		out.Rules = append(out.Rules, Considered{rule.text, effect, outcome})
	}
	return out
}

// keep gives those of all rules that f leaves.
func (e *Engine) keep(f func(*scratch)) set {
	s, _ := e.scratch.Get().(*scratch)
	defer e.scratch.Put(s)
	for i := range s.found {
		s.found[i] = ^uint64(0)
	}
	for i := len(e.rules); i < len(s.found)*64; i++ {
		s.found.remove(i)
	}
	f(s)
	return slices.Clone(s.found)
}

func (r *rule) outcome(in *input) string {
	if r.when == nil {
		return "matches"
	}
	answer, err := r.when.explain(in)
	switch answer {
	case holds:
		return "matches: its condition holds"
	case depends:
		return "its condition depends on what is not known while listing"
	case fails:
		return fmt.Sprintf("its condition can't be evaluated: %v", err)
	default:
		return "its condition does not hold"
	}
}

// heldRoles adds to the roles that bindings give those that they extend.
func heldRoles(data *policy.RBAC, held map[string]int) (out []Held) {
	from := make(map[string]string)
	for role, i := range held {
		from[role] = "named by the credential"
		if i >= 0 {
			from[role] = "given by " + data.Where(data.Bindings[i].At)
		}
	}
	var extend func(role string)
	extend = func(role string) {
		for _, other := range data.Roles[role].Extends {
			if from[other] == "" {
				from[other] = "extended by " + role
				extend(other)
			}
		}
	}
	for role := range held {
		extend(role)
	}
	for role, text := range from {
		out = append(out, Held{role, text})
	}
	slices.SortFunc(out, func(a, b Held) int { return cmp.Compare(a.Role, b.Role) })
	return out
}
