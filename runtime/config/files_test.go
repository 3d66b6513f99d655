package config

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A configuration says what it was made of, also if it has mistakes: who watches it
// waits for their correction.
func TestFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(at(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(at("profiles"), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, cert, profile string
		want                []string
	}{
		{"whole", "a", "description = \"x\"\n", []string{"c.yaml", "cert", "key", "profiles", "profiles/own.toml", "tools.lock"}},
		{"no certificate", "", "description = \"x\"\n", []string{"c.yaml", "cert", "key", "profiles", "profiles/own.toml", "tools.lock"}},
		{"a bad profile", "a", "nonsense", []string{"c.yaml", "cert", "key", "profiles", "profiles/own.toml", "tools.lock"}},
	}
	for _, test := range tests {
		write("c.yaml", "transports: {http: {tls: {cert_file: "+at("cert")+", key_file: "+at("key")+"}}}\n")
		write("cert", test.cert)
		write("key", "b")
		write("profiles/own.toml", test.profile)
		var want []string
		for _, name := range test.want {
			want = append(want, at(name))
		}
		if r := Read(at("c.yaml"), os.LookupEnv, nil); !slices.Equal(r.Files, want) {
			t.Errorf("%s (%v): got %q, want %q", test.name, r.Err, r.Files, want)
		}
	}
	r := Read(at("none.yaml"), os.LookupEnv, nil)
	if r.Err == nil || !slices.Equal(r.Files, []string{at("none.yaml")}) {
		t.Errorf("no file: got %q and %v, want its path and an error", r.Files, r.Err)
	}
}
