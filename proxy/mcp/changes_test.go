package mcp

import "testing"

func TestCovers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		subscribed, updated string
		want                bool
	}{
		{"file:///a", "file:///a", true},
		{"file:///a", "file:///a/b", true},
		{"file:///a/", "file:///a/b", true},
		{"file:///a", "file:///a#b", true},
		{"file:///a", "file:///a?b", true},
		{"file:///a", "file:///ab", false},
		{"file:///a/b", "file:///a", false},
		{"", "file:///a", false},
		{"", "", false},
	}
	for _, test := range tests {
		if got := Covers(test.subscribed, test.updated); got != test.want {
			t.Errorf("%q and %q: got %v, want %v", test.subscribed, test.updated, got, test.want)
		}
	}
}
