package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each case is a file in testdata/errors. What must be reported stands in its
// comments "want: line:column: text", in order, and nothing else may be.
func TestErrors(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/errors/*.*")
	if err != nil || len(paths) == 0 {
		t.Fatalf("cases: got %d and %v, want some", len(paths), err)
	}
	env := func(name string) (string, bool) {
		values := map[string]string{"PORT": "8080", "TEXT": "s3cret text", "EMPTY": ""}
		value, ok := values[name]
		return value, ok
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name := filepath.Base(path)
			var want []string
			for line := range strings.Lines(string(content)) {
				if _, text, ok := strings.Cut(line, "# want: "); ok {
					want = append(want, name+":"+strings.TrimSpace(text))
				}
			}
			_, _, err = Parse(name, content, env)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != strings.Join(want, "\n") {
				t.Errorf("errors:\ngot\n%s\nwant\n%s", got, strings.Join(want, "\n"))
			}
			if strings.Contains(got, "s3cret") {
				t.Error("an error shows the value of a variable")
			}
		})
	}
}
