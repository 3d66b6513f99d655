package sandbox_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"mcpgateway/sandbox"
)

// TestExchangedDirectory: a user who owns a folder above an allowed directory puts
// a link in its place, and back, while sandboxes start. None may show what the
// link leads to.
func TestExchangedDirectory(t *testing.T) {
	parent, other := directory(t, owner), directory(t, owner)
	dir, link := filepath.Join(parent, "project"), filepath.Join(parent, "link")
	err := errors.Join(os.Mkdir(dir, 0o755), os.Chown(dir, owner, owner), os.Symlink(other, link),
		os.WriteFile(filepath.Join(dir, "marker"), []byte("right\n"), 0o644),
		os.WriteFile(filepath.Join(other, "marker"), []byte("wrong\n"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				if err := unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	started, refused := 0, 0
	for started+refused < 25 || refused == 0 && started < 500 {
		s := spec(t, "/bin/cat", "marker")
		s.Mounts = append(s.Mounts, sandbox.Mount{Source: dir, Target: dir, Writable: true, UID: owner, GID: owner})
		s.Dir = dir
		box, err := tryStart(t, s)
		if err != nil {
			refused++
			continue
		}
		started++
		box.stdin.Close()
		if got := box.wait(t); strings.Contains(got.stdout, "wrong") {
			t.Errorf("a sandbox showed another folder: %q", got.stdout)
		}
	}
	close(stop)
	<-stopped
	t.Logf("%d started, %d refused", started, refused)
	if refused == 0 {
		t.Error("no start met the exchange: this proves nothing")
	}
}
