package openapi

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"mcpgateway/proxy/mcp"
)

// maxSchemasBytes bounds all schemas of one server: references in them are written out,
// and so they can grow.
const maxSchemasBytes = 16 << 20

// Bounds of one schema, since whoever reads the document must not come to harm by
// one server.
const (
	maxSchemaBytes = 256 << 10
	maxSchemaWork  = 8 << 20 // bytes of names and output while it is rewritten
	maxSchemaDepth = 64
	maxFaults      = 20 // of one schema
)

var errTooLarge = errors.New("the schema is too large or too deep")

// node is a schema as it will be written.
type node struct {
	from    string   // where it is in the tool's schema: a JSON pointer
	at      string   // where it will be: a reference to it
	base    *url.URL // what its references are relative to
	ref     string   // "" for none
	target  *node    // of ref; nil if it leads nowhere
	members []member
	raw     []byte // a boolean schema, which has no members
}

// member is one of a schema's: a raw value, or schemas.
type member struct {
	name   string
	raw    []byte
	braces string // around the schemas: "", "[]" or "{}"
	parts  []part
}

type part struct {
	name string // in braces
	*node
}

// reader takes a tool's schema apart. What no reader of OpenAPI could make sense
// of is left out, and said.
type reader struct {
	shapes map[string]shape
	nodes  []*node
	places map[string]*node  // by JSON pointer in the tool's schema
	names  map[string]string // JSON pointers in the tool's schema, by URI
	faults []string
	work   int
}

// place is where a schema is: in the tool's schema and in the document.
type place struct{ from, to string }

func (p place) below(from, to string) place {
	return place{p.from + "/" + escape(from), p.to + "/" + url.PathEscape(escape(to))}
}

// escape writes a name as a part of a JSON pointer (RFC 6901).
func escape(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}

// rewrite makes a schema that was parsed valid below root, such as
// "#/components/schemas/a": of the dialect of OpenAPI 3.1, with every reference
// resolved. faults say what had to be left out.
func rewrite(schema []byte, root string) (out []byte, faults []string, err error) {
	if len(schema) > maxSchemaBytes {
		return nil, nil, errTooLarge
	}
	r := &reader{shapes: keywords(), places: map[string]*node{}, names: map[string]string{}}
	base := &url.URL{Scheme: "tool", Path: "/"}
	r.names[base.String()] = ""
	n, err := r.schema(schema, place{"", root}, base, 0)
	if err != nil {
		return nil, nil, err
	}
	r.resolve()
	out, err = r.append(nil, n)
	return out, r.faults, err
}

func (r *reader) fault(at, format string, args ...any) {
	if len(r.faults) < maxFaults {
		r.faults = append(r.faults, fmt.Sprintf("%.100s: ", at)+fmt.Sprintf(format, args...))
	}
}

// schema reads a schema and what is in it.
func (r *reader) schema(value []byte, at place, base *url.URL, depth int) (*node, error) {
	if r.work += len(at.from) + len(at.to); r.work > maxSchemaWork || depth > maxSchemaDepth {
		return nil, errTooLarge
	}
	n := &node{from: at.from, at: at.to, base: base}
	r.nodes = append(r.nodes, n)
	r.places[at.from] = n
	if !mcp.IsObject(value) {
		n.raw = []byte("true")
		if s := string(value); s == "true" || s == "false" {
			n.raw = value
		} else {
			r.fault(at.from, "not a schema")
		}
		return n, nil
	}
	r.name(n, value, at)
	tuple := hasTuple(value)
	for keyword, value := range mcp.Members(value) {
		if err := r.member(n, keyword, value, at, tuple, depth); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// name notes by which URIs a schema may be referred to.
func (r *reader) name(n *node, value []byte, at place) {
	var anchors []string
	for keyword, value := range mcp.Members(value) {
		text, _ := mcp.TextOf(value)
		switch keyword {
		case "$id":
			name, anchor, _ := strings.Cut(text, "#")
			if u, err := n.base.Parse(name); err == nil && name != "" {
				u.Fragment = ""
				n.base = u
				r.names[u.String()] = at.from
			}
			anchors = append(anchors, anchor) // as draft-07 has it
		case "$anchor", "$dynamicAnchor":
			anchors = append(anchors, text)
		}
	}
	for _, anchor := range anchors {
		if anchor != "" {
			r.names[n.base.String()+"#"+anchor] = at.from
		}
	}
}

// hasTuple reports whether a schema lists those of an array's elements as dialects
// before 2020-12 did.
func hasTuple(schema []byte) bool {
	items := mcp.Member(schema, "items")
	return len(items) > 0 && items[0] == '['
}

// member reads one member of a schema and keeps it, if it is to be kept.
func (r *reader) member(n *node, keyword string, value []byte, at place, tuple bool, depth int) error {
	name := renamed(keyword, tuple)
	shape := r.shapes[name]
	m := member{name: name}
	inside := at.below(keyword, name)
	switch {
	case shape == unknown:
		return nil
	case shape == ofRef && shape.fits(value):
		if n.ref == "" {
			n.ref, _ = mcp.TextOf(value)
		}
		return nil
	case shape == ofSchema || shape == ofSchemas || shape == ofNamed && mcp.IsObject(value):
		if err := r.parts(&m, shape, value, inside, n.base, depth+1); err != nil {
			return err
		}
	case shape.fits(value):
		m.raw = value
	}
	if m.raw == nil && len(m.parts) == 0 && m.braces != "{}" {
		r.fault(at.from, "%.100s is not what it must be", keyword)
		return nil
	}
	n.members = append(n.members, m)
	return nil
}

// renamed is what a keyword is called in the dialect of OpenAPI; "" if it is to go.
func renamed(keyword string, tuple bool) string {
	switch {
	case tuple && keyword == "items":
		return "prefixItems"
	case tuple && keyword == "additionalItems":
		return "items"
	case tuple && keyword == "prefixItems":
		return ""
	}
	return keyword
}

// parts reads the schemas that are a keyword's value.
func (r *reader) parts(m *member, shape shape, value []byte, at place, base *url.URL, depth int) error {
	add := func(name string, value []byte, at place) error {
		n, err := r.schema(value, at, base, depth)
		m.parts = append(m.parts, part{name, n})
		return err
	}
	switch shape {
	case ofSchemas:
		m.braces = "[]"
		for element := range mcp.Elements(value) {
			index := strconv.Itoa(len(m.parts))
			if err := add("", element, at.below(index, index)); err != nil {
				return err
			}
		}
	case ofNamed:
		m.braces = "{}"
		taken := map[string]bool{"$ref": true} // which some readers follow, whatever it is
		for name, value := range mcp.Members(value) {
			to := name
			if m.name == "$defs" || m.name == "definitions" {
				to = clean(name) // some readers take them for components
			}
			if taken[to] {
				r.fault(at.from, "there is no way to describe %.100q", name)
				continue
			}
			taken[to] = true
			if err := add(to, value, at.below(name, to)); err != nil {
				return err
			}
		}
	default:
		return add("", value, at)
	}
	return nil
}
