// Package view writes profiles for people: line by line, as a file, and what one
// sets otherwise than another. It judges none.
//
// Runs in: CLI.
package view

import (
	"fmt"
	"reflect"
	"strings"

	"mcpgateway/policy/profile"
)

// Line is one key of a profile.
type Line struct {
	Key    string `json:"key"`
	Value  string `json:"value"` // as TOML
	Origin string `json:"origin"`
}

// Lines gives every key, in the order of the schema.
func Lines(e *profile.Effective) []Line {
	var lines []Line
	for _, k := range profile.Schema() {
		lines = append(lines, Line{k.String(), profile.TOML(k.Of(&e.Profile)), e.Origin[k.String()]})
	}
	return lines
}

// Text gives the whole profile as a file that loads to the same one.
func Text(e *profile.Effective) string {
	var out strings.Builder
	fmt.Fprintf(&out, "description = %s\n", profile.TOML(reflect.ValueOf(e.Description)))
	out.WriteString("allow_weaker = true # every key is here: no other profile matters\n")
	section := ""
	for _, k := range profile.Schema() {
		if k.Section != section {
			section = k.Section
			fmt.Fprintf(&out, "\n[%s]\n", section)
		}
		fmt.Fprintf(&out, "%s = %s\n", k.Name, profile.TOML(k.Of(&e.Profile)))
	}
	return out.String()
}
