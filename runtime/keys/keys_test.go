package keys

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestLoad(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.json")
	if got, err := Load(path); got != nil || err != nil {
		t.Fatalf("got %v, %v of no file, want nothing", got, err)
	}
	if err := os.WriteFile(path, []byte(`{"keys":[{"id":"a","name":"n"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Load(path); err != nil || len(got) != 1 || got[0].Name != "n" {
		t.Errorf("got %v, %v, want the one key", got, err)
	}
}

func TestSecret(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jwt.key")
	if got, err := Secret(path); len(got) > 0 || err != nil {
		t.Fatalf("got %q, %v of no file, want nothing", got, err)
	}
	if err := os.WriteFile(path, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Secret(path); string(got) != "secret" || err != nil {
		t.Errorf("got %q, %v, want the secret without its line end", got, err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if got, err := Secret(path); err == nil || len(got) > 0 {
			t.Errorf("got %q of a file of mode %o", got, mode)
		}
	}
}

func TestLoadRefusesAFileOthersMayWrite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, []byte(`{"keys":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o620, 0o602, 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil {
			t.Errorf("loaded a file of mode %o", mode)
		}
	}
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte(`{"keys":`), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil {
		t.Error("loaded half a document")
	}
}
