package view

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"mcpgateway/policy/profile"
)

// load loads the shipped profiles and files, which are names and contents.
func load(t *testing.T, files map[string]string) (*profile.Set, string, error) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set, err := profile.Load(dir)
	return set, dir, err
}

// What Text writes loads to the same profile, and Lines has every key of it.
func TestTextLoadsAgain(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../profile/testdata/every.toml")
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
	for i, line := range Lines(every) {
		if line.Value == Lines(root)[i].Value {
			same++
		}
	}
	if same != 2 { // there is one image, and no capability
		t.Fatalf("every key: got %d as they are by default, want 2: set the others, too", same)
	}
	for _, name := range set.Names() {
		e, _ := set.Get(name)
		again, dir, err := load(t, map[string]string{"again.toml": Text(e)})
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, Text(e))
			continue
		}
		a, _ := again.Get("again")
		if !reflect.DeepEqual(a.Profile, e.Profile) || a.Description != e.Description {
			t.Errorf("%s: got %+v, want %+v", name, a.Profile, e.Profile)
		}
		for i, line := range Lines(a) {
			if want := Lines(e)[i]; line.Key != want.Key || line.Value != want.Value || !strings.HasPrefix(line.Origin, dir) {
				t.Errorf("%s: got %+v, want %+v from the file", name, line, want)
			}
		}
	}
}
