package openapi

import (
	"strings"

	"mcpgateway/proxy/mcp"
)

// resolve finds what every reference leads to. One that leads only to references
// and back to itself leads nowhere.
func (r *reader) resolve() {
	for _, n := range r.nodes {
		n.target = r.find(n)
	}
	walked := map[*node]int{} // by which walk
	for i, n := range r.nodes {
		for n.target != nil && walked[n] == 0 {
			walked[n] = i + 1
			if walked[n.target] == i+1 {
				n.target = nil
				break
			}
			n = n.target
		}
	}
	for _, n := range r.nodes {
		if n.ref != "" && n.target == nil {
			r.fault(n.from, "the reference %.100q leads nowhere inside the schema", n.ref)
		}
	}
}

// find is the schema that a reference names; nil if there is none here.
func (r *reader) find(n *node) *node {
	u, err := n.base.Parse(n.ref)
	if n.ref == "" || err != nil {
		return nil
	}
	fragment := u.Fragment
	u.Fragment, u.RawFragment = "", ""
	pointer, ok := r.names[u.String()]
	switch {
	case strings.HasPrefix(fragment, "/"):
		pointer += fragment
	case fragment != "":
		pointer, ok = r.names[u.String()+"#"+fragment]
	}
	if !ok {
		return nil
	}
	return r.places[pointer]
}

// append writes a schema.
func (r *reader) append(out []byte, n *node) ([]byte, error) {
	if n.raw != nil {
		return append(out, n.raw...), nil
	}
	out = append(out, '{')
	start := len(out)
	if n.target != nil {
		out = append(append(out, `"$ref":`...), mcp.Quote(n.target.at)...)
	}
	for _, m := range n.members {
		if len(out) > start {
			out = append(out, ',')
		}
		out = append(append(out, mcp.Quote(m.name)...), ':')
		var err error
		if out, err = r.appendMember(out, m); err != nil {
			return nil, err
		}
	}
	if r.work+len(out) > maxSchemaWork {
		return nil, errTooLarge
	}
	return append(out, '}'), nil
}

func (r *reader) appendMember(out []byte, m member) (_ []byte, err error) {
	switch {
	case m.raw != nil:
		return append(out, m.raw...), nil
	case m.braces == "":
		return r.append(out, m.parts[0].node)
	}
	out = append(out, m.braces[0])
	for i, p := range m.parts {
		if i > 0 {
			out = append(out, ',')
		}
		if m.braces == "{}" {
			out = append(append(out, mcp.Quote(p.name)...), ':')
		}
		if out, err = r.append(out, p.node); err != nil {
			return nil, err
		}
	}
	return append(out, m.braces[1]), nil
}
