package policy

import (
	"errors"
	"testing"
)

func TestAuthorize(t *testing.T) {
	t.Parallel()
	p := &Policy{Servers: map[string]Server{"a": {Project: "alpha"}, "b": {Project: "beta"}}}
	tests := []struct {
		name   string
		id     *Identity
		server string
		want   bool
	}{
		{"any server", &Identity{Subject: "key:1"}, "a", true},
		{"named server", &Identity{Subject: "key:1", Servers: []string{"b", "a"}}, "a", true},
		{"other server", &Identity{Subject: "key:1", Servers: []string{"b"}}, "a", false},
		{"named project", &Identity{Subject: "key:1", Projects: []string{"beta", "alpha"}}, "a", true},
		{"other project", &Identity{Subject: "key:1", Projects: []string{"beta"}}, "a", false},
		{"named server of another project", &Identity{Subject: "key:1", Servers: []string{"a"}, Projects: []string{"beta"}}, "a", false},
		{"unknown server", &Identity{Subject: "key:1"}, "c", false},
		{"unknown server by name", &Identity{Subject: "key:1", Servers: []string{"c"}}, "c", false},
		{"nobody", &Identity{}, "a", false},
		{"nobody by name", &Identity{Servers: []string{"a"}}, "a", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := p.Authorize(tt.id, tt.server)
			var denied *DeniedError
			if got := err == nil; got != tt.want || err != nil && !errors.As(err, &denied) {
				t.Errorf("got %v, want allowed: %v", err, tt.want)
			}
		})
	}
}
