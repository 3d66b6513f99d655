package profile

import (
	"os"
	"reflect"
	"slices"
	"strings"
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

// What Text writes loads to the same profile, and Lines has every key of it.
func TestTextLoadsAgain(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("testdata/every.toml")
	if err != nil {
		t.Fatal(err)
	}
	set, _, err := load(t, map[string]string{"every.toml": string(content)})
	if err != nil {
		t.Fatal(err)
	}
	every, _ := set.Get("every")
	root, _ := set.Get("default")
	same := 0
	for i, line := range every.Lines() {
		if line.Value == root.Lines()[i].Value {
			same++
		}
	}
	if same != 2 { // there is one image, and no capability
		t.Fatalf("every key: got %d as they are by default, want 2: set the others, too", same)
	}
	for _, name := range set.Names() {
		e, _ := set.Get(name)
		again, dir, err := load(t, map[string]string{"again.toml": e.Text()})
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, e.Text())
			continue
		}
		a, _ := again.Get("again")
		if !reflect.DeepEqual(a.Profile, e.Profile) || a.Description != e.Description {
			t.Errorf("%s: got %+v, want %+v", name, a.Profile, e.Profile)
		}
		for i, line := range a.Lines() {
			if want := e.Lines()[i]; line.Key != want.Key || line.Value != want.Value || !strings.HasPrefix(line.Origin, dir) {
				t.Errorf("%s: got %+v, want %+v from the file", name, line, want)
			}
		}
	}
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
