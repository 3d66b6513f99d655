package catalog

import "strings"

// Bounds of the work that a match costs.
const (
	maxTemplates   = 500 // of one member
	maxExpressions = 16  // of one template
)

// matches reports whether a URI can come of a URI template (RFC 6570). It is
// generous: a simple expression stands for any text within one segment of a path,
// one with an operator for any text, and so does whatever can't be read.
func matches(template, uri string) bool {
	if len(template) > maxURI || strings.Count(template, "{") > maxExpressions {
		return false
	}
	literal, rest, found := strings.Cut(template, "{")
	if !strings.HasPrefix(uri, literal) {
		return false // nearly all end here
	}
	// reached tells how much of the URI the template can have made so far.
	reached := make([]bool, len(uri)+1)
	reached[len(literal)] = true
	for found {
		var expression string
		expression, rest, _ = strings.Cut(rest, "}")
		expand(reached, uri, strings.ContainsAny(expression[:min(1, len(expression))], "+#./;?&"))
		literal, rest, found = strings.Cut(rest, "{")
		advance(reached, uri, literal)
	}
	return reached[len(uri)]
}

// expand lets an expression stand for any further text.
func expand(reached []bool, uri string, anything bool) {
	on := false
	for i := range reached {
		on = on || reached[i]
		reached[i] = on
		if i < len(uri) && !anything && strings.IndexByte("/?#", uri[i]) >= 0 {
			on = false
		}
	}
}

// advance goes on where a literal text follows.
func advance(reached []bool, uri, literal string) {
	for i := len(uri); i >= 0; i-- {
		start := i - len(literal)
		reached[i] = start >= 0 && reached[start] && uri[start:i] == literal
	}
}
