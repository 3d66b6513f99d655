package profile

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// load loads the shipped profiles and files, which are names and contents.
func load(t *testing.T, files map[string]string) (*Set, string, error) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set, err := Load(dir)
	return set, dir, err
}

func TestShippedProfiles(t *testing.T) {
	t.Parallel()
	set, err := Load(filepath.Join(t.TempDir(), "none"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"browser", "default", "network-client", "node", "python", "strict"}
	if got := set.Names(); !slices.Equal(got, want) {
		t.Errorf("Names: got %q, want %q", got, want)
	}
}
