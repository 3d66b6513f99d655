package profile

import (
	"maps"
	"testing"
)

// Shipped gives the shipped files, for tests that write profiles as people see
// them: what does that imports this package.
func Shipped(tb testing.TB) (contents [][]byte) {
	tb.Helper()
	entries, err := shipped.ReadDir("shipped")
	if err != nil || len(entries) == 0 {
		tb.Fatalf("shipped: %d, %v", len(entries), err)
	}
	for _, entry := range entries {
		content, err := shipped.ReadFile("shipped/" + entry.Name())
		if err != nil {
			tb.Fatal(err)
		}
		contents = append(contents, content)
	}
	return contents
}

// Loader gives a function that loads one file, x.toml, beside the shipped ones.
func Loader(tb testing.TB) func(content []byte) (*Set, error) {
	tb.Helper()
	base := newLoader()
	if err := base.readShipped(); err != nil {
		tb.Fatal(err)
	}
	if _, err := base.finish(); err != nil {
		tb.Fatal(err)
	}
	return func(content []byte) (*Set, error) {
		l := &loader{sources: maps.Clone(base.sources), set: &Set{profiles: maps.Clone(base.set.profiles)}}
		l.add("x.toml", content)
		return l.finish()
	}
}
