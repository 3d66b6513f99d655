package document

import (
	"path/filepath"
	"strings"
)

const variableHelp = `a variable is ${NAME} or ${NAME:-default}, a secret ${file:/path}, ${credential:name} or ${exec:helper:path}, and $${ is a literal "${"`

// Reference names a text that is kept elsewhere, in a place that keeps secrets.
type Reference struct {
	Kind   string // "file", "credential" (systemd.exec(5), LoadCredential=) or "exec"
	Helper string // of exec: who gets it
	Name   string // of the file, the credential, or what the helper is asked for
}

// The kinds of Reference.
const (
	ReferenceFile       = "file"
	ReferenceCredential = "credential"
	ReferenceExec       = "exec"
)

func (r Reference) String() string {
	if r.Kind == ReferenceExec {
		return "${exec:" + r.Helper + ":" + r.Name + "}"
	}
	return "${" + r.Kind + ":" + r.Name + "}"
}

// problem says what is wrong with how the reference is written; "" if nothing is.
func (r Reference) problem() string {
	control := func(c rune) bool { return c < ' ' || c == 0x7f }
	switch {
	case len(r.Name) > 4096 || strings.ContainsFunc(r.Name, control):
		return "the name in ${" + r.Kind + ":…} has control characters, or more than 4096 bytes"
	case r.Kind == ReferenceFile && (!filepath.IsAbs(r.Name) || filepath.Clean(r.Name) != r.Name):
		return r.String() + " needs an absolute path in its shortest form"
	case r.Kind == ReferenceCredential && (r.Name == "" || r.Name == "." || r.Name == ".." || strings.Contains(r.Name, "/")):
		return r.String() + " needs the name of a credential, without folders"
	case r.Kind == ReferenceExec && (!IsName(r.Helper) || r.Name == "" || r.Name[0] == '-'):
		return r.String() + " needs a helper and what it is asked for, which can't begin with \"-\": ${exec:helper:path}"
	}
	return ""
}

// part is a piece of a text: a literal, a variable or a reference.
type part struct {
	literal    string
	variable   string
	fallback   string
	hasDefault bool
	Reference
}

// split takes a text apart. The problem it returns names variables, never a value.
func split(text string) (parts []part, problem string) {
	for {
		before, rest, found := strings.Cut(text, "${")
		if literal, escaped := strings.CutSuffix(before, "$"); found && escaped {
			parts, text = append(parts, part{literal: literal + "${"}), rest
			continue
		}
		parts = append(parts, part{literal: before})
		if !found {
			return parts, ""
		}
		inner, after, closed := strings.Cut(rest, "}")
		one, problem := parsePart(inner)
		if !closed || problem != "" {
			if problem == "" || !closed {
				problem = `"${" does not begin a variable: ` + variableHelp
			}
			return nil, problem
		}
		parts, text = append(parts, one), after
	}
}

// parsePart reads what stands between "${" and "}".
func parsePart(inner string) (part, string) {
	kind, name, _ := strings.Cut(inner, ":")
	r := Reference{Kind: kind, Name: name}
	switch {
	case strings.HasPrefix(name, "-"): // a default
	case kind == ReferenceExec:
		r.Helper, r.Name, _ = strings.Cut(name, ":")
		return part{Reference: r}, r.problem()
	case kind == ReferenceFile && name != "" || kind == ReferenceCredential && name != "":
		return part{Reference: r}, r.problem()
	case kind == "env":
		inner = name
	}
	variable, fallback, hasDefault := strings.Cut(inner, ":-")
	if !IsVariable(variable) || strings.Contains(fallback, "${") {
		return part{}, `"${" does not begin a variable: ` + variableHelp
	}
	return part{variable: variable, fallback: fallback, hasDefault: hasDefault}, ""
}

// value is what a variable stands for; fetched is false for a default. An unset one
// is a problem.
func (p part) value(env func(string) (string, bool)) (value string, fetched bool, problem string) {
	value, set := env(p.variable)
	switch {
	case p.hasDefault && (!set || value == ""):
		return p.fallback, false, ""
	case !set:
		return "", false, "variable " + p.variable + " is not set: set it, or give a default: ${" + p.variable + ":-value}"
	}
	return value, true, ""
}

// IsVariable reports whether name can name an environment variable: letters,
// digits and underscores, no digit first (POSIX.1-2024, 8.1).
func IsVariable(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}
