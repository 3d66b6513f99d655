package document

import "strings"

const variableHelp = `a variable is ${NAME} or ${NAME:-default}, and $${ is a literal "${"`

// expand replaces the variables of text. ${NAME} is the variable's value,
// ${NAME:-default} the default where that is unset or empty, and $${ a literal
// "${". What comes from a variable is not looked at again. The problems it
// returns name variables, never a value.
func expand(text string, env func(string) (string, bool)) (expanded string, problems []string) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		if literal, escaped := strings.CutSuffix(before, "$"); found && escaped {
			out.WriteString(literal + "${")
			text = rest
			continue
		}
		out.WriteString(before)
		if !found {
			return out.String(), problems
		}
		inner, after, closed := strings.Cut(rest, "}")
		name, fallback, hasDefault := strings.Cut(inner, ":-")
		if !closed || !IsVariable(name) || strings.Contains(fallback, "${") {
			return "", append(problems, `"${" does not begin a variable: `+variableHelp)
		}
		value, set := env(name)
		switch {
		case hasDefault && (!set || value == ""):
			value = fallback
		case !set:
			problems = append(problems, "variable "+name+" is not set: set it, or give a default: ${"+name+":-value}")
		}
		out.WriteString(value)
		text = after
	}
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
