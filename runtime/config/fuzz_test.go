package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func FuzzParseYAML(f *testing.F) { fuzz(f, "fuzz.yaml", "*/*.yaml") }

func FuzzParseTOML(f *testing.F) { fuzz(f, "fuzz.toml", "*/*.toml") }

// fuzz proves that no document makes Parse panic, that it gives a configuration
// or an error but never both or neither, and that it gives the same twice.
func fuzz(f *testing.F, name, seeds string) {
	paths, err := filepath.Glob(filepath.Join("testdata", seeds))
	if err != nil || len(paths) == 0 {
		f.Fatalf("seeds: got %d and %v, want some", len(paths), err)
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	env := func(name string) (string, bool) { return "9", len(name)%2 == 0 }
	f.Fuzz(func(t *testing.T, content []byte) {
		first, _, err := parse(name, content, env, testHost(1000))
		if (first == nil) == (err == nil) {
			t.Fatalf("got configuration %v and error %v", first, err)
		}
		second, _, again := parse(name, content, env, testHost(1000))
		if !reflect.DeepEqual(first, second) || fmt.Sprint(err) != fmt.Sprint(again) {
			t.Fatalf("twice is not the same:\n%+v %v\n%+v %v", first, err, second, again)
		}
	})
}
