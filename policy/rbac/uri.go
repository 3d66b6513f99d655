package rbac

import "strings"

// maxURI is the length in bytes of the longest URI that is compared with patterns.
const maxURI = 8192

// isNormal reports whether a URI is in the one form of those that mean the same
// (RFC 3986, section 6.2) which patterns are compared with: nothing escaped that
// need not be, no "." or ".." and no empty segment anywhere, scheme and host in lower
// case. A server may read other forms as something that a pattern does not show.
func isNormal(uri string) bool {
	scheme, rest, ok := strings.Cut(uri, ":")
	if !ok || len(uri) > maxURI || !isScheme(scheme) || !hasNormalEscapes(rest) {
		return false
	}
	path := rest
	if after, ok := strings.CutPrefix(rest, "//"); ok {
		host := after
		if i := strings.IndexAny(after, "/?#"); i >= 0 {
			host = after[:i]
		}
		path = after[len(host):]
		if !isNormalHost(scheme, host) {
			return false
		}
	} else if scheme == "file" {
		return false // file:/x means file:///x
	}
	return hasNormalSegments(path)
}

func isScheme(text string) bool {
	if text == "" || text[0] < 'a' || text[0] > 'z' {
		return false
	}
	return strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789+-.") == ""
}

// hasNormalEscapes also refuses what no URI has in it: control characters, spaces,
// backslashes, other alphabets.
func hasNormalEscapes(text string) bool {
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			return false
		}
		if c != '%' {
			continue
		}
		if i+2 >= len(text) {
			return false
		}
		high, low := hexDigit(text[i+1]), hexDigit(text[i+2])
		if high < 0 || low < 0 {
			return false
		}
		c = byte(high<<4 | low)
		// An escaped separator is a separator for servers that unescape first.
		if isUnreserved(c) || c < ' ' || c == 0x7f || c == '/' || c == '\\' || c == '%' {
			return false
		}
		i += 2
	}
	return true
}

// hexDigit knows capitals only: the normal form has them.
func hexDigit(c byte) int {
	return strings.IndexByte("0123456789ABCDEF", c)
}

func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

func isNormalHost(scheme, host string) bool {
	if scheme == "file" {
		return host == "" // localhost is the same
	}
	user, name, ok := strings.Cut(host, "@")
	if !ok {
		user, name = "", host
	}
	port := ""
	if i := strings.LastIndexByte(name, ':'); i >= 0 && !strings.HasSuffix(name, "]") {
		name, port = name[:i], name[i+1:]
		if port == "" || port[0] == '0' || strings.Trim(port, "0123456789") != "" {
			return false
		}
	}
	web := scheme == "http" || scheme == "https"
	switch {
	case web && (user != "" || ok || name == ""):
		return false
	case scheme == "http" && port == "80", scheme == "https" && port == "443":
		return false
	}
	return name == strings.ToLower(name) && !strings.HasSuffix(name, ".") && !strings.ContainsAny(name, "%@")
}

// hasNormalSegments looks at all that follows the host. Servers that take a query
// for part of a path, or cut segments at a semicolon, must not find a way up either.
func hasNormalSegments(path string) bool {
	before := byte('/')
	start := 0
	if strings.HasPrefix(path, "/") {
		start = 1
	}
	inPath := true
	for i := start; i <= len(path); i++ {
		if i < len(path) && strings.IndexByte("/?#;&=", path[i]) < 0 {
			continue
		}
		segment := path[start:i]
		if segment == "." || segment == ".." {
			return false
		}
		// "a//b" is "a/b" to most servers.
		if inPath && segment == "" && before == '/' && i < len(path) && path[i] == '/' {
			return false
		}
		if i < len(path) {
			before = path[i]
			inPath = inPath && before != '?' && before != '#'
		}
		start = i + 1
	}
	return true
}

// stem is a URI without query, fragment and final slashes, which many servers don't
// tell from it.
func stem(uri string) string {
	if i := strings.IndexAny(uri, "?#"); i >= 0 {
		uri = uri[:i]
	}
	return strings.TrimRight(uri, "/")
}

// templateGlob is the pattern of the URIs that a URI template (RFC 6570) makes.
func templateGlob(template string) string {
	var out strings.Builder
	for {
		before, after, ok := strings.Cut(template, "{")
		out.WriteString(before)
		if !ok {
			return out.String()
		}
		out.WriteByte('*')
		_, template, ok = strings.Cut(after, "}")
		if !ok {
			return out.String()
		}
	}
}

// checkResource says what is wrong with a pattern that no URI in normal form matches,
// because what it says itself is not.
func checkResource(pattern string) string {
	if pattern == "" || pattern[0] == '*' {
		return ""
	}
	for _, any := range []string{"a", "/a"} {
		if isNormal(strings.ReplaceAll(pattern, "*", any)) {
			return ""
		}
	}
	return "matches no URI in its normal form (RFC 3986, section 6): write scheme and host in lower case, no . or .. or empty segment, nothing escaped that need not be"
}
