package pins

import (
	"encoding/json"
	"maps"
	"slices"

	"mcpgateway/policy"
)

// Listing is what an operator is told of one server's tools.
type Listing struct {
	Server string         `json:"server"`
	Mode   policy.PinMode `json:"mode"`
	Tools  []Listed       `json:"tools"` // those that it lists, in its order, and then those that are gone
}

// Listed is one tool.
type Listed struct {
	Name       string          `json:"name"`
	State      Kind            `json:"state"`
	Definition json.RawMessage `json:"definition,omitempty"` // as the server lists it now; none if it is gone
	Approved   *Entry          `json:"approved,omitempty"`
}

// Listing takes note of all tools that a server lists now, and says what they are.
// Definitions without a name are left out: nobody can call those.
func (v *View) Listing(server string, definitions [][]byte) Listing {
	l := Listing{Server: server, Mode: v.Mode(server)}
	present := map[string]bool{}
	for _, definition := range definitions {
		name, ok := NameOf(definition)
		if !ok {
			continue
		}
		present[name] = true
		l.Tools = append(l.Tools, Listed{name, v.seen(server, name, definition), definition, v.entry(server, name)})
	}
	for _, name := range slices.Sorted(maps.Keys(v.lock[server])) {
		if !present[name] {
			l.Tools = append(l.Tools, Listed{Name: name, State: Gone, Approved: v.entry(server, name)})
		}
	}
	return l
}

// seen takes note of a tool as Filter does. What is new is not told: the operator is
// looking at it.
func (v *View) seen(server, tool string, definition []byte) Kind {
	if v.Mode(server) == policy.PinsOff {
		return v.Judge(server, definition)
	}
	kind, event := v.observe(server, tool, DigestOf(definition))
	if event != nil && kind == Changed {
		v.registry.report(*event)
	}
	return kind
}

func (v *View) entry(server, tool string) *Entry {
	entry, locked := v.lock[server][tool]
	if !locked {
		return nil
	}
	return &entry
}
