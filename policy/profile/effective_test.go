package profile

import (
	"slices"
	"testing"
)

func shippedSet(t *testing.T) *Set {
	t.Helper()
	set, _, err := load(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestCloneIsAlone(t *testing.T) {
	t.Parallel()
	set := shippedSet(t)
	strict, _ := set.Get("strict")
	clone := strict.Clone()
	clone.Limits.PIDsMax, clone.Origin["limits.pids_max"] = 1, "here"
	if strict.Limits.PIDsMax != 64 || strict.Origin["limits.pids_max"] == "here" {
		t.Error("a change of the clone is one of the profile")
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Size{"0": 0, "1": 1, "1K": 1 << 10, "3M": 3 << 20, "1G": 1 << 30, "8388607T": 8388607 << 40} {
		var got Size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want || got.String() != text {
			t.Errorf("%s: got %d (%s), %v, want %d", text, got, got, err, want)
		}
	}
	for _, text := range []string{"", "K", "-1", "+1", "1.5M", "1k", "1 M", "1MB", "0x1", "8388608T", "9223372036854775808"} {
		if err := new(Size).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: got no error", text)
		}
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	known := callNames()
	for name, calls := range groups {
		for _, call := range calls {
			if !slices.Contains(known, call) {
				t.Errorf("%s: there is no call %q", name, call)
			}
		}
	}
	for _, tt := range []struct {
		name        string
		calls       Syscalls
		plus, minus []string
	}{
		{"default", Syscalls{Base: "@default"}, nil, nil},
		{"single", Syscalls{Base: "@default", Plus: []string{"ptrace"}, Minus: []string{"sync"}}, []string{"ptrace"}, []string{"sync"}},
		{"group", Syscalls{Base: "@default", Minus: []string{"@sync", "sync"}}, nil, []string{"sync", "syncfs"}},
		{"back", Syscalls{Base: "@default", Plus: []string{"sync"}, Minus: []string{"@sync"}}, nil, []string{"syncfs"}},
		{"group back", Syscalls{Base: "@default", Plus: []string{"@sync"}, Minus: []string{"@sync", "@memlock", "mlock"}}, nil, groups["@memlock"]},
	} {
		plus, minus, err := tt.calls.Resolve()
		slices.Sort(tt.minus)
		if err != nil || !slices.Equal(plus, tt.plus) || !slices.Equal(minus, tt.minus) {
			t.Errorf("%s: got %q, %q, %v, want %q, %q", tt.name, plus, minus, err, tt.plus, tt.minus)
		}
	}
	for _, bad := range []Syscalls{{Base: "@no"}, {Base: "@default", Plus: []string{"no"}}, {Base: "@default", Minus: []string{"@no"}}} {
		if _, _, err := bad.Resolve(); err == nil {
			t.Errorf("%+v: got no error", bad)
		}
	}
}
