package view

import "mcpgateway/policy/profile"

// Change is a key that differs between two profiles.
type Change struct {
	Key    string `json:"key"`
	A      string `json:"a"` // the values, as TOML
	B      string `json:"b"`
	Weaker int    `json:"weaker"` // 1: the second lets a server do more; -1: less; 0: neither, or both
}

// Diff gives the keys that differ, in the order of the schema.
func Diff(a, b *profile.Effective) []Change {
	var changes []Change
	inA, inB := Lines(a), Lines(b)
	for i, k := range profile.Schema() {
		if inA[i].Value == inB[i].Value {
			continue
		}
		change := Change{Key: k.String(), A: inA[i].Value, B: inB[i].Value}
		if k.Exceeds(&a.Profile, &b.Profile) {
			change.Weaker++
		}
		if k.Exceeds(&b.Profile, &a.Profile) {
			change.Weaker--
		}
		changes = append(changes, change)
	}
	return changes
}
