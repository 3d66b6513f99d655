package policy

import (
	"fmt"
	"strings"
)

// RBAC is a policy file as data: roles hold permissions, bindings give roles to
// callers. package rbac decides by it. The tags config are the file's keys.
type RBAC struct {
	Version  string          `config:"version" want:"1.0" json:"-"`
	Roles    map[string]Role `config:"roles" json:"roles"`
	Bindings []Binding       `config:"bindings" json:"bindings"`

	// File is what positions name: the file's path, or in the proxy its name alone.
	File string `json:"file"`
}

// Role is what the callers who have it may and must not do.
type Role struct {
	Extends     []string     `config:"extends" json:"extends,omitempty"` // roles whose permissions it has, too
	Permissions []Permission `config:"permissions" json:"permissions,omitempty"`
	// FromCredential lets callers have it without a binding, because their credential
	// names it (Identity.Roles).
	FromCredential bool `config:"from_credential" json:"from_credential,omitempty"`

	At Position `json:"at"`
}

// Permission is one rule. Of its lists each must match, and one without entries
// always does; but a rule that names tools, resources or prompts is about those
// alone. In all but Actions and When, "*" stands for any run of characters.
type Permission struct {
	Effect    string   `config:"effect" want:"allow|deny" json:"effect,omitempty"` // "" or "allow", or "deny"
	Actions   []string `config:"actions" json:"actions"`                           // methods, "*", or "tools/*"
	Projects  []string `config:"projects" json:"projects,omitempty"`
	Servers   []string `config:"servers" json:"servers,omitempty"`
	Tools     []string `config:"tools" json:"tools,omitempty"`
	Resources []string `config:"resources" json:"resources,omitempty"` // URIs
	Prompts   []string `config:"prompts" json:"prompts,omitempty"`
	When      string   `config:"when" json:"when,omitempty"` // a CEL expression

	At     Position `json:"at"`
	WhenAt Text     `json:"when_at,omitzero"`
}

// Denies reports whether the rule forbids what it matches.
func (p Permission) Denies() bool { return p.Effect == "deny" }

// Binding gives a role to callers. Who: it is enough to be one of Users, Groups,
// Certificates or Keys; without all four it is everybody with what the rest wants.
// When: all Claims, all Scopes, and one of Projects.
type Binding struct {
	Role         string            `config:"role" json:"role"`
	Users        []string          `config:"users" json:"users,omitempty"` // Identity.User; "*": every authenticated caller
	Groups       []string          `config:"groups" json:"groups,omitempty"`
	Certificates []string          `config:"certificates" json:"certificates,omitempty"` // patterns with "*"
	Keys         []string          `config:"keys" json:"keys,omitempty"`                 // names of API keys
	Claims       map[string]string `config:"claims" json:"claims,omitempty"`             // each is the claim, or in the list that it is
	Scopes       []string          `config:"scopes" json:"scopes,omitempty"`
	Projects     []string          `config:"projects" json:"projects,omitempty"` // patterns with "*": it holds in these alone

	At Position `json:"at"`
}

// Position is a place in a file, counted from 1, the column in characters.
type Position struct {
	Line   int `json:"line"`
	Column int `json:"column"`
}

// Text is where a text stands in a file: its first character, and the column of the
// first character of its further lines.
type Text struct {
	Position
	Further int `json:"further"`
}

// Within is the place of a character of the text, both counted from 1.
func (t Text) Within(line, column int) Position {
	if line <= 1 {
		return Position{t.Line, t.Column + column - 1}
	}
	return Position{t.Line + line - 1, t.Further + column - 1}
}

// Where is "file:line:column".
func (r *RBAC) Where(at Position) string { return fmt.Sprintf("%s:%d:%d", r.File, at.Line, at.Column) }

// ActionMatches reports whether an entry of Actions is about a method.
func ActionMatches(entry, method string) bool {
	if prefix, ok := strings.CutSuffix(entry, "*"); ok {
		return strings.HasPrefix(method, prefix)
	}
	return entry == method
}

// Follows reports whether it is decided without rules of its own who may use a
// method: as another method, or, with "", as anything of its server.
func Follows(method string) (ok bool, other string) {
	switch method {
	case "resources/subscribe", "resources/unsubscribe":
		return true, "resources/read"
	case "completion/complete":
		return true, "resources/read or prompts/get"
	case "initialize", "ping", "server/discover", "logging/setLevel", "tools/list", "resources/list",
		"resources/templates/list", "prompts/list", "subscriptions/listen":
		return true, ""
	}
	return strings.HasPrefix(method, "notifications/"), ""
}
