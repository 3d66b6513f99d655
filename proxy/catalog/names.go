package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Names of tools and prompts, as clients see them:
//
//	server__name            if that fits and can mean one thing only
//	stem_0123456789         else: cut and cleaned, with a hash of server and name
//
// A name depends on the members and on itself, never on what others list or whether
// they answer: the same name never comes to mean another tool. Names of the first
// form don't look like one of the second.
const (
	separator  = "__"
	maxName    = 64 // characters, the limit of clients
	hashDigits = 10
	maxStem    = maxName - 1 - hashDigits
)

// exposed is the name under which clients see a member's tool or prompt.
func (c *Catalog) exposed(server, name string) string {
	full := server + separator + name
	if !presentable(full) {
		return altered(server, name)
	}
	// Another member's name may begin with this one's, so that full could be split
	// in two ways.
	if member, rest := c.split(full); member.Name != server || rest != name {
		return altered(server, name)
	}
	return full
}

// split finds the member and its own name for a tool in a name of the first form;
// of several the longest. The name is "" if there is no such member.
func (c *Catalog) split(full string) (member Member, name string) {
	for _, m := range c.members {
		if rest, ok := strings.CutPrefix(full, m.Name+separator); ok && rest != "" {
			member, name = m, rest // they are in order, the longer behind the shorter
		}
	}
	return member, name
}

// presentable reports whether a name can stand as it is.
func presentable(full string) bool {
	return len(full) <= maxName && clean(full) == full && !hashed(full)
}

// altered is the second form.
func altered(server, name string) string {
	sum := sha256.Sum256([]byte(server + "\x00" + name))
	return stem(server+separator+name) + "_" + hex.EncodeToString(sum[:hashDigits/2])
}

func stem(full string) string {
	full = clean(full)
	return full[:min(len(full), maxStem)]
}

// hashed reports whether a name has the second form.
func hashed(full string) bool {
	tail := len(full) - hashDigits
	return tail > 0 && full[tail-1] == '_' && strings.Trim(full[tail:], "0123456789abcdef") == ""
}

// mayOwn reports whether a name of the second form can be of a server.
func mayOwn(server, full string) bool { return strings.HasPrefix(full, stem(server+separator)) }

// clean replaces what clients don't take in names.
func clean(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		}
		return '_'
	}, name)
}
