package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSweep(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	folder := func(name string, files ...string) string {
		path := filepath.Join(parent, upFolder+name)
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if err := os.WriteFile(filepath.Join(path, file), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	folder("begins")
	folder("killed", upLock, "control.sock")
	folder("killed-with-daemon", upLock, "daemon.lock")
	g := &gateway{dir: folder("without-daemon", "daemon.lock")}
	if err := g.holdFolder(); err != nil {
		t.Fatal(err)
	}
	defer g.lock.Close()
	daemon, err := os.Open(filepath.Join(folder("ends", upLock, "daemon.lock"), "daemon.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer daemon.Close()
	if err := unix.Flock(int(daemon.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}

	if err := sweep(parent); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range left {
		got = append(got, entry.Name()[len(upFolder):])
	}
	if want := []string{"begins", "ends", "without-daemon"}; !slices.Equal(got, want) {
		t.Errorf("got %q left, want %q", got, want)
	}
}
