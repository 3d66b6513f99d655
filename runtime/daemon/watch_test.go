package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Any change of what a path leads to shows, and nothing else.
func TestLook(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	paths := []string{at("file"), at("none"), at("folder"), at("link/file")}
	write := func(name, content string) error { return os.WriteFile(at(name), []byte(content), 0o600) }
	// As a ConfigMap's volume does it: the link to the folder of all files is replaced.
	point := func(to string) error {
		return errors.Join(os.Symlink(at(to), at("next")), os.Rename(at("next"), at("link")))
	}
	if err := errors.Join(os.MkdirAll(at("one"), 0o755), os.MkdirAll(at("two"), 0o755), os.MkdirAll(at("folder"), 0o755),
		write("file", "a"), write("one/file", "a"), write("two/file", "a"), point("one")); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour)
	before := look(paths, later)
	for _, step := range []struct {
		name   string
		change func() error
		want   bool
	}{
		{"nothing", func() error { return nil }, false},
		{"another file", func() error { return write("other", "a") }, false},
		{"a byte", func() error { return write("file", "b") }, true},
		{"its mode", func() error { return os.Chmod(at("file"), 0o640) }, true},
		{"the same bytes in its place", func() error { return errors.Join(write("x", "b"), os.Rename(at("x"), at("file"))) }, true},
		{"there it is", func() error { return write("none", "") }, true},
		{"gone again", func() error { return os.Remove(at("none")) }, true},
		{"a name in the folder", func() error { return write("folder/new", "") }, true},
		{"the link", func() error { return point("two") }, true},
		{"what the link leads to", func() error { return write("two/file", "c") }, true},
	} {
		wait(t)
		if err := step.change(); err != nil {
			t.Fatal(err)
		}
		after := look(paths, later)
		if got := after != before; got != step.want {
			t.Errorf("%s: got changed: %t, want %t\n%s", step.name, got, step.want, after)
		}
		before = after
	}
}

// wait lets the kernel's clock go on, by which it notes the time of changes.
func wait(t *testing.T) {
	t.Helper()
	for start := time.Now(); time.Since(start) < clockStep; {
		if err := os.WriteFile(filepath.Join(t.TempDir(), "tick"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// What was written while it was read, or right before, never looks as it did then.
func TestLookDoubts(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	began := time.Now()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour)
	if look([]string{path}, began) == look([]string{path}, later) {
		t.Error("a file written since: got what it looks like later, want a doubt")
	}
	if look([]string{path}, later) != look([]string{path}, later.Add(time.Hour)) {
		t.Error("got a doubt about a file that was written long ago")
	}
}
