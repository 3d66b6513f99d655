// Package rbac decides what callers may do by the rules of a policy file: roles
// hold permissions, bindings give roles to callers. What denies wins, and what no
// rule allows is denied; so is what a condition can't be evaluated for. It knows
// names, not messages: whoever has parsed a request says what it is about. It
// authenticates nobody and opens nothing.
//
// Runs in: proxy, CLI (check, up, policy).
package rbac

import (
	"cmp"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"time"

	"mcpgateway/policy"
)

// Engine decides by one policy file. It does not change; any number of goroutines may
// use it at a time, and none waits for another.
type Engine struct {
	rules   []rule
	callers *callers

	actions, projects, servers, tools, resources, prompts *index

	denies, conditional, timed, unnamed, ofResources set
	denySome                                         set       // what denies something, and not everything
	scratch                                          sync.Pool // of *scratch
}

// rule is a permission of a role.
type rule struct {
	policy.Permission
	role  string
	text  string // "policies.yaml:12:9 (role developer)"
	unmet string // what is said if its condition is why nothing allowed a request
	when  *condition
}

// scratch is what a decision needs room for, whatever the number of rules.
type scratch struct {
	found, match, seen, stem set
	key                      []byte
}

// Error is a mistake in a policy file.
type Error struct {
	Position string // file:line:column
	Text     string
}

// Errors is every mistake that New found.
type Errors []Error

// Error gives a line for each, of the first twenty.
func (e Errors) Error() string {
	var lines []string
	for i, one := range e {
		if i == maxLines {
			lines = append(lines, fmt.Sprintf("and %d more", len(e)-i))
			break
		}
		lines = append(lines, one.Position+": "+one.Text)
	}
	return strings.Join(lines, "\n")
}

// maxLines bounds what the proxy says of a policy file that it refuses.
const maxLines = 20

// New compiles a policy file that package rules has read. What is wrong with its
// conditions comes as Errors, all of it, with the place in the file.
func New(data *policy.RBAC) (*Engine, error) {
	e := &Engine{}
	own, mistakes := e.compile(data)
	roles, more := closures(data, own, len(e.rules))
	if mistakes = append(mistakes, more...); len(mistakes) > 0 {
		return nil, mistakes
	}
	e.callers = newCallers(data, roles, len(e.rules))
	e.index()
	return e, nil
}

// compile makes the rules, in the order of the file, and says which are whose.
func (e *Engine) compile(data *policy.RBAC) (own map[string][]int, mistakes Errors) {
	for _, name := range slices.Sorted(maps.Keys(data.Roles)) {
		for _, p := range data.Roles[name].Permissions {
			text := fmt.Sprintf("%s (role %s)", data.Where(p.At), name)
			e.rules = append(e.rules, rule{Permission: p, role: name, text: text, unmet: "no rule allows it: the condition of " + text + " does not hold"})
		}
	}
	slices.SortStableFunc(e.rules, func(a, b rule) int {
		return cmp.Or(cmp.Compare(a.At.Line, b.At.Line), cmp.Compare(a.At.Column, b.At.Column))
	})
	own = make(map[string][]int)
	compiler, err := newCompiler()
	if err != nil {
		return nil, Errors{{data.File, err.Error()}}
	}
	compiled := make(map[string]*condition) // the same text is the same condition
	for i := range e.rules {
		r := &e.rules[i]
		own[r.role] = append(own[r.role], i)
		for _, pattern := range r.Resources {
			if text := checkResource(pattern); text != "" {
				mistakes = append(mistakes, Error{data.Where(r.At), fmt.Sprintf("resources: %q %s", pattern, text)})
			}
		}
		if r.when = compiled[r.When]; r.when != nil || r.When == "" {
			continue
		}
		var faults []fault
		if r.when, faults = compiler.compile(r.When); len(faults) > 0 {
			for _, f := range faults {
				mistakes = append(mistakes, Error{data.Where(r.WhenAt.Within(f.line, f.column)), "when: " + f.text})
			}
			continue
		}
		compiled[r.When] = r.when
	}
	return own, mistakes
}

// closures gives each role its rules and those of all roles that it extends. There
// are no cycles: package rules refuses them, and here they only come to an end.
func closures(data *policy.RBAC, own map[string][]int, size int) (map[string]set, Errors) {
	out := make(map[string]set)
	var mistakes Errors
	var collect func(name string) set
	collect = func(name string) set {
		if known, ok := out[name]; ok {
			return known
		}
		rules := newSet(size)
		out[name] = rules
		for _, i := range own[name] {
			rules.add(i)
		}
		for _, other := range data.Roles[name].Extends {
			if _, ok := data.Roles[other]; !ok {
				mistakes = append(mistakes, Error{data.Where(data.Roles[name].At), fmt.Sprintf("there is no role %.100q", other)})
				continue
			}
			rules.or(collect(other))
		}
		return rules
	}
	for name := range data.Roles {
		collect(name)
	}
	for _, b := range data.Bindings {
		if _, ok := data.Roles[b.Role]; !ok {
			mistakes = append(mistakes, Error{data.Where(b.At), fmt.Sprintf("there is no role %.100q", b.Role)})
		}
	}
	return out, mistakes
}

func (e *Engine) index() {
	size := len(e.rules)
	all := func(int) bool { return true }
	unnamed := func(i int) bool {
		r := &e.rules[i]
		return len(r.Tools)+len(r.Resources)+len(r.Prompts) == 0
	}
	none := func(int) bool { return false }
	e.actions = newIndex(size, func(i int) []string { return e.rules[i].Actions }, none)
	e.projects = newIndex(size, func(i int) []string { return e.rules[i].Projects }, all)
	e.servers = newIndex(size, func(i int) []string { return e.rules[i].Servers }, all)
	e.tools = newIndex(size, func(i int) []string { return e.rules[i].Tools }, unnamed)
	e.resources = newIndex(size, func(i int) []string { return e.rules[i].Resources }, unnamed)
	e.prompts = newIndex(size, func(i int) []string { return e.rules[i].Prompts }, unnamed)
	for _, s := range []*set{&e.denies, &e.conditional, &e.timed, &e.unnamed, &e.ofResources, &e.denySome} {
		*s = newSet(size)
	}
	for i := range e.rules {
		r := &e.rules[i]
		if r.Denies() {
			e.denies.add(i)
		}
		if r.when != nil {
			e.conditional.add(i)
			if r.when.timed {
				e.timed.add(i)
			}
		}
		if r.Denies() && (!unnamed(i) || !slices.Contains(r.Actions, "*")) {
			e.denySome.add(i)
		}
		if unnamed(i) {
			e.unnamed.add(i)
		}
		if len(r.Resources) > 0 {
			e.ofResources.add(i)
		}
	}
	globs := 0
	for _, x := range []*index{e.actions, e.projects, e.servers, e.tools, e.resources, e.prompts} {
		globs = max(globs, len(x.globs))
	}
	e.scratch.New = func() any {
		return &scratch{found: newSet(size), match: newSet(size), stem: newSet(size), seen: newSet(globs)}
	}
}

// MayUse reports whether there may be anything of a server that a caller may use at a
// time. If the answer is the same at every time, always is true.
func (e *Engine) MayUse(id *policy.Identity, project, server string, now time.Time) (may, always bool) {
	d, always := e.decide(&Request{Identity: id, Project: project, Server: server, Action: "ping", Now: now})
	return d.Allowed, always
}

// Decide says whether a request is allowed.
func (e *Engine) Decide(r *Request) Decision {
	d, _ := e.decide(r)
	return d
}

// decide says also whether it is so at every time.
func (e *Engine) decide(r *Request) (d Decision, always bool) {
	if r.Identity == nil || r.Identity.Subject == "" {
		return Decision{Rule: "the caller is nobody"}, true
	}
	s, _ := e.scratch.Get().(*scratch)
	defer e.scratch.Put(s)
	what := r.subject()
	if !e.find(r, what, s) {
		return Decision{Rule: "no role of the caller holds here"}, true
	}
	return e.judge(r, what, s.found), !s.found.meets(e.timed)
}

// find leaves in s.found the rules that match a request, but for their conditions.
// It reports whether any rule is for the caller.
func (e *Engine) find(r *Request, what subject, s *scratch) bool {
	var own set
	own, s.key = e.callers.rules(r.Identity, r.Project, s.key)
	if own.empty() {
		return false
	}
	copy(s.found, own)
	e.keepPlace(r, s)
	e.keepNames(what, s)
	return true
}

// keepPlace drops from s.found the rules for other projects and servers.
func (e *Engine) keepPlace(r *Request, s *scratch) {
	e.projects.find(r.Project, s.match, s.seen)
	s.found.and(s.match)
	e.servers.find(r.Server, s.match, s.seen)
	s.found.and(s.match)
}

// keepNames drops from s.found the rules about something else.
func (e *Engine) keepNames(what subject, s *scratch) {
	if what.kind != kindAnything {
		e.actions.find(what.action, s.match, s.seen)
		s.found.and(s.match)
	}
	switch what.kind {
	case kindAnything:
		s.found.less(e.denySome) // and keep what allows something, and what denies everything
	case kindOther:
		s.found.and(e.unnamed)
	case kindTool:
		e.tools.find(what.name, s.match, s.seen)
		s.found.and(s.match)
	case kindPrompt:
		e.prompts.find(what.name, s.match, s.seen)
		s.found.and(s.match)
	case kindResource:
		e.resource(what.name, s)
	case kindTemplate:
		e.template(what.name, s)
	}
}

// resource keeps the rules for a URI. One that is not in normal form may mean
// anything: what allows some resources only does not match it, what denies some does.
// What denies a resource also denies it with a query or a slash more.
func (e *Engine) resource(uri string, s *scratch) {
	if !isNormal(uri) {
		copy(s.match, e.resources.always)
		for i := range s.match {
			s.match[i] |= e.denies[i] & e.ofResources[i]
		}
		s.found.and(s.match)
		return
	}
	e.resources.find(uri, s.match, s.seen)
	if short := stem(uri); short != uri {
		e.resources.find(short, s.stem, s.seen)
		for i := range s.match {
			s.match[i] |= s.stem[i] & e.denies[i]
		}
	}
	s.found.and(s.match)
}

// template keeps what allows some resource of a template, and what denies all.
func (e *Engine) template(template string, s *scratch) {
	e.resources.find(template, s.match, s.seen)
	pattern := templateGlob(template)
	for i := s.found.next(0); i >= 0; i = s.found.next(i + 1) {
		if r := &e.rules[i]; !s.match.has(i) && (r.Denies() ||
			!slices.ContainsFunc(r.Resources, func(p string) bool { return overlap(p, pattern) })) {
			s.found.remove(i)
		}
	}
}

// judge decides by rules that match but for their conditions. Rules without one come
// first, which changes no decision.
func (e *Engine) judge(r *Request, what subject, found set) Decision {
	allow := -1
	for w, word := range found {
		if denies := word & e.denies[w] &^ e.conditional[w]; denies != 0 {
			return Decision{Rule: e.rules[w*64+bits.TrailingZeros64(denies)].text}
		}
		if allows := word &^ e.denies[w] &^ e.conditional[w]; allows != 0 && allow < 0 {
			allow = w*64 + bits.TrailingZeros64(allows)
		}
	}
	var in *input // which few need
	unmet := -1
	for _, denies := range [...]bool{true, false} {
		if !denies && allow >= 0 {
			return Decision{true, e.rules[allow].text}
		}
		for i := found.next(0); i >= 0; i = found.next(i + 1) {
			if !e.conditional.has(i) || e.denies.has(i) != denies {
				continue
			}
			if in == nil {
				in = &input{request: r, subject: what}
			}
			switch answer := e.rules[i].when.evaluate(in); {
			case denies && (answer == holds || answer == fails):
				return Decision{false, e.rules[i].text}
			case !denies && (answer == holds || answer == depends):
				return Decision{true, e.rules[i].text}
			case !denies && unmet < 0:
				unmet = i
			}
		}
	}
	if unmet >= 0 {
		return Decision{Rule: e.rules[unmet].unmet}
	}
	return Decision{Rule: "no rule allows it"}
}
