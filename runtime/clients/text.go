package clients

import (
	"net/url"
	"regexp"
	"strings"
)

// placeholder is what clients put a value in the place of.
var placeholder = regexp.MustCompile(`\$\{[^${}]+\}`)

// literal keeps the gateway from reading anything into a text.
func literal(text string) string { return strings.ReplaceAll(text, "${", "$${") }

// expand replaces the places that a client knows, and has variable write the references
// to variables. It returns the text for the configuration, and the one with places only.
func (c *converter) expand(text string, variable func(reference string) string) (written, plain string) {
	var out, bare strings.Builder
	rest := text
	for {
		at := placeholder.FindStringIndex(rest)
		if at == nil {
			out.WriteString(literal(rest))
			bare.WriteString(rest)
			return out.String(), bare.String()
		}
		found := rest[at[0]+2 : at[1]-1]
		out.WriteString(literal(rest[:at[0]]))
		bare.WriteString(rest[:at[0]])
		if place, ok := c.place(found); ok {
			out.WriteString(literal(place))
			bare.WriteString(place)
		} else if id, ok := strings.CutPrefix(found, "input:"); ok {
			out.WriteString(variable("MCP_" + strings.ToUpper(fileName(id))))
			bare.WriteString(rest[at[0]:at[1]])
		} else if name := strings.TrimPrefix(found, "env:"); isVariable.MatchString(name) {
			out.WriteString(variable(name))
			bare.WriteString(rest[at[0]:at[1]])
		} else {
			c.comment("${%s} is the client's: write what it stands for", found)
			out.WriteString(literal(rest[at[0]:at[1]]))
			bare.WriteString(rest[at[0]:at[1]])
		}
		rest = rest[at[1]:]
	}
}

var isVariable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(:-[^"]*)?$`)

// place is what a client's name of a folder stands for.
func (c *converter) place(name string) (string, bool) {
	switch name {
	case "workspaceFolder", "workspaceRoot", "workspaceFolder:", "cwd":
		return c.file.Folder, true
	case "userHome", "HOME", "env:HOME":
		return c.host.Home, true
	case "/", "pathSeparator":
		return "/", true
	}
	return "", false
}

var (
	secretName = regexp.MustCompile(`(?i)(key|token|secret|passw|pwd|pass$|_pat$|^pat$|credential|auth|cookie|session|dsn|signature|private|bearer|conn)`)
	plainWord  = regexp.MustCompile(`^[A-Za-z]{1,16}$`)
	plainCount = regexp.MustCompile(`^[0-9]{1,6}$`)
	plainPath  = regexp.MustCompile(`^~?(/[A-Za-z0-9._ -]+)+/?$`)
	plainHost  = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)*(:[0-9]{1,5})?$`)
)

// harmless reports whether a variable may stand in a configuration: nothing about it may
// look like a secret, and its value must be of a kind that secrets are not.
func harmless(name, value string) bool {
	if secretName.MatchString(name) {
		return false
	}
	if value == "" || plainWord.MatchString(value) || plainCount.MatchString(value) || plainPath.MatchString(value) {
		return true
	}
	if u, err := url.Parse(value); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		return u.User == nil && u.RawQuery == "" && u.Fragment == "" && (u.Path == "" || u.Path == "/") && plainHost.MatchString(u.Host)
	}
	return len(value) <= 40 && strings.Contains(value, ".") && plainHost.MatchString(value)
}

var secretText = regexp.MustCompile(`^(sk-|ghp_|gho_|github_pat_|glpat-|xox[abps]-|AKIA|eyJ|mcpgw_|pk_live|sk_live|rk_live|AIza|ntn_|npm_|hf_)`)

// secretArg reports whether an argument holds a secret, and what of it does not.
func secretArg(arg, before string) (kept string, secret bool) {
	if flag, value, found := strings.Cut(arg, "="); found && strings.HasPrefix(flag, "-") && value != "" && !placeholder.MatchString(value) {
		if secretName.MatchString(flag) && !harmless("", value) || secretText.MatchString(value) {
			return flag + "=", true
		}
	}
	if placeholder.MatchString(arg) {
		return "", false
	}
	if strings.HasPrefix(before, "-") && !strings.Contains(before, "=") && secretName.MatchString(before) && !strings.HasPrefix(arg, "-") && arg != "" {
		return "", true
	}
	if u, err := url.Parse(arg); err == nil && u.User != nil {
		if _, has := u.User.Password(); has {
			return "", true
		}
	}
	name, value, _ := strings.Cut(strings.TrimSpace(arg), ":") // a header
	if secretName.MatchString(name) && strings.HasPrefix(strings.ToLower(strings.TrimSpace(value)), "bearer ") {
		return name + ": ", true
	}
	return "", secretText.MatchString(arg)
}
