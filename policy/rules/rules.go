// Package rules reads policy files: who has which role, and what the roles may do.
// It is as strict as the configuration is, and checks all but the conditions: what
// is written in CEL is compiled by package rbac, which the daemon does not link.
//
// Runs in: daemon, CLI.
package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"mcpgateway/policy"
	"mcpgateway/runtime/document"
)

const (
	// maxPattern bounds names and patterns, in bytes.
	maxPattern = 1024
	// maxCondition bounds a condition, in bytes.
	maxCondition = 4096
	// MaxRules bounds the roles, the permissions and the bindings of a file, each.
	MaxRules = 10_000
	// MaxConditions bounds the permissions with a condition: the proxy compiles them
	// while the daemon waits for its verdict.
	MaxConditions = 2000
)

// Load reads the policy file at path, YAML or TOML by its name. It must belong to
// root or to the user of this process, and nobody else may be able to write to it.
// Mistakes in it come as document.Errors, all at once.
func Load(path string) (*policy.RBAC, error) {
	content, err := document.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read policy file: %w", err)
	}
	return Parse(path, content)
}

// Parse is Load for a document that was already read. name is the file's name for
// positions and says the format; content may be any bytes.
func Parse(name string, content []byte) (*policy.RBAC, error) {
	out := &policy.RBAC{Version: "1.0", File: name}
	c := checker{document.Decode(name, content, nil, out), out, strings.Split(string(content), "\n")}
	if !c.HasFailed("") {
		c.roles()
		c.bindings()
	}
	if mistakes := c.Errors(); len(mistakes) > 0 {
		return nil, mistakes
	}
	return out, nil
}

type checker struct {
	*document.Report
	rbac  *policy.RBAC
	lines []string
}

func (c *checker) at(p document.Path) policy.Position { return policy.Position(c.Position(p)) }

func (c *checker) roles() {
	names := slices.Sorted(maps.Keys(c.rbac.Roles))
	if len(names) > MaxRules {
		c.Fail(document.At("roles"), "are %d, at most %d are allowed", len(names), MaxRules)
		return
	}
	count, conditions := 0, 0
	for _, name := range names {
		p, role := document.At("roles", name), c.rbac.Roles[name]
		role.At = c.at(p)
		if !document.IsName(name) {
			c.Add(p, "%s", document.NameHelp)
		}
		for i, other := range role.Extends {
			c.OneOf(p.Key("extends").Index(i), other, names)
		}
		for i := range role.Permissions {
			c.permission(p.Key("permissions").Index(i), &role.Permissions[i])
			if role.Permissions[i].When != "" {
				conditions++
			}
		}
		count += len(role.Permissions)
		c.rbac.Roles[name] = role
	}
	if count > MaxRules {
		c.Fail(document.At("roles"), "have %d permissions together, at most %d are allowed", count, MaxRules)
	}
	if conditions > MaxConditions {
		c.Fail(document.At("roles"), "have %d conditions together, at most %d are allowed", conditions, MaxConditions)
	}
	c.cycles(names)
}

// cycles refuses roles that extend themselves, each cycle once.
func (c *checker) cycles(names []string) {
	done := make(map[string]bool)
	var path []string
	var walk func(name string)
	walk = func(name string) {
		if i := slices.Index(path, name); i >= 0 {
			c.Fail(document.At("roles", name, "extends"), "%s: a role can't extend itself", strings.Join(append(path[i:], name), " → "))
			return
		}
		if done[name] {
			return
		}
		path = append(path, name)
		for _, other := range c.rbac.Roles[name].Extends {
			walk(other)
		}
		path, done[name] = path[:len(path)-1], true
	}
	for _, name := range names {
		walk(name)
	}
}

func (c *checker) permission(p document.Path, rule *policy.Permission) {
	rule.At = c.at(p)
	if len(rule.Actions) == 0 && !c.HasFailed(p) {
		c.Fail(p.Key("actions"), `is missing: name methods such as tools/call, or write ["*"] for all`)
	}
	for i, action := range rule.Actions {
		c.action(p.Key("actions").Index(i), action)
	}
	for key, patterns := range map[string][]string{
		"projects": rule.Projects, "servers": rule.Servers, "tools": rule.Tools, "resources": rule.Resources, "prompts": rule.Prompts,
	} {
		c.texts(p.Key(key), patterns)
	}
	for key, named := range map[string]struct {
		patterns []string
		action   string
	}{"tools": {rule.Tools, "tools/call"}, "resources": {rule.Resources, "resources/read"}, "prompts": {rule.Prompts, "prompts/get"}} {
		if len(named.patterns) > 0 && !slices.ContainsFunc(rule.Actions, func(a string) bool { return policy.ActionMatches(a, named.action) }) {
			c.Fail(p.Key(key), "is for %s, which actions does not name", named.action)
		}
	}
	when := p.Key("when")
	switch {
	case !c.Given(when) || c.HasFailed(when):
	case strings.TrimSpace(rule.When) == "":
		c.Fail(when, "is empty: write a condition, or remove the key")
	case len(rule.When) > maxCondition:
		c.Fail(when, "is longer than %d bytes", maxCondition)
	default:
		rule.WhenAt = c.text(c.at(when))
	}
}

// action refuses methods that no rule decides about.
func (c *checker) action(p document.Path, action string) {
	follows, method := policy.Follows(action)
	switch {
	case c.HasFailed(p):
	case action == "" || len(action) > maxPattern:
		c.Fail(p, `is no method: write one such as tools/call, "tools/*" or "*"`)
	case strings.Contains(strings.TrimSuffix(action, "*"), "*") || action != "*" && strings.HasSuffix(action, "*") && !strings.HasSuffix(action, "/*"):
		c.Fail(p, `is %q: in an action * stands alone, or at the end behind a slash, as in "tools/*"`, action)
	case follows && method == "":
		c.Fail(p, "%q needs no rule: it is for all who may use anything of the server, and lists show what they may", action)
	case follows:
		c.Fail(p, "%q follows %s: name that", action, method)
	}
}

// texts refuses empty and very long entries.
func (c *checker) texts(p document.Path, texts []string) {
	if c.Given(p) && len(texts) == 0 {
		c.Fail(p, "has no entries: write what is meant, or remove the key for all")
	}
	for i, text := range texts {
		if text == "" || len(text) > maxPattern {
			c.Fail(p.Index(i), "must have 1 to %d bytes", maxPattern)
		}
	}
}

func (c *checker) bindings() {
	roles := slices.Sorted(maps.Keys(c.rbac.Roles))
	if len(c.rbac.Bindings) > MaxRules {
		c.Fail(document.At("bindings"), "are %d, at most %d are allowed", len(c.rbac.Bindings), MaxRules)
		return
	}
	for i := range c.rbac.Bindings {
		p, b := document.At("bindings").Index(i), &c.rbac.Bindings[i]
		b.At = c.at(p)
		switch {
		case c.HasFailed(p.Key("role")):
		case b.Role == "":
			c.Fail(p.Key("role"), "is missing: name the role that this binding gives")
		default:
			c.OneOf(p.Key("role"), b.Role, roles)
		}
		for key, texts := range map[string][]string{
			"users": b.Users, "groups": b.Groups, "certificates": b.Certificates, "keys": b.Keys, "scopes": b.Scopes, "projects": b.Projects,
		} {
			c.texts(p.Key(key), texts)
		}
		if c.Given(p.Key("claims")) && len(b.Claims) == 0 {
			c.Fail(p.Key("claims"), "has no entries: write what is meant, or remove the key")
		}
		said := func(key string) bool { return c.Given(p.Key(key)) || c.HasFailed(p.Key(key)) }
		if !slices.ContainsFunc([]string{"users", "groups", "claims", "certificates", "keys", "scopes"}, said) {
			c.Fail(p, `gives its role to nobody: add users, groups, claims, certificates, keys or scopes; users: ["*"] is everybody`)
		}
	}
}

// text finds where a text begins whose value begins at p: behind its quote, or in
// the lines below the sign of a block.
func (c *checker) text(p policy.Position) policy.Text {
	sign := ' '
	if line := c.line(p.Line); p.Column <= len(line) {
		sign = line[p.Column-1]
	}
	switch sign {
	case '\'', '"':
		p.Column++
	case '|', '>':
		for p.Line++; p.Line < len(c.lines) && strings.TrimSpace(string(c.line(p.Line))) == ""; {
			p.Line++
		}
		p.Column = c.indent(p.Line) + 1
		return policy.Text{Position: p, Further: p.Column}
	}
	return policy.Text{Position: p, Further: c.indent(p.Line+1) + 1}
}

func (c *checker) indent(number int) int {
	line := string(c.line(number))
	return len(line) - len(strings.TrimLeft(line, " "))
}

func (c *checker) line(number int) []rune {
	if number < 1 || number > len(c.lines) {
		return nil
	}
	return []rune(c.lines[number-1])
}
