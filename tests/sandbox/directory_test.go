package sandbox_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mcpgateway/sandbox"
)

const owner = 1234

// directory makes a folder with a file in it, both of a user's.
func directory(t testing.TB, uid int) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "mcp-gateway-dir-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "file")
	err = errors.Join(os.WriteFile(file, []byte("content\n"), 0o640), os.Chown(file, uid, uid), os.Chown(dir, uid, uid))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func inDirectory(t *testing.T, d sandbox.Mount, script string) output {
	t.Helper()
	s := spec(t, "/bin/sh", "-c", script)
	s.Mounts = append(s.Mounts, d)
	s.Dir = d.Target
	return runToEnd(t, s)
}

func TestWritesBelongToTheOwner(t *testing.T) {
	dir := directory(t, owner)
	got := inDirectory(t, sandbox.Mount{Source: dir, Target: dir, Writable: true, UID: owner, GID: owner},
		"pwd; cat file; echo new > new && mkdir sub && echo more >> file; stat -c %u file new")
	if want := dir + "\ncontent\n1000\n1000\n"; got.stdout != want {
		t.Errorf("got %q (%s), want %q", got.stdout, got.stderr, want)
	}
	for _, name := range []string{"file", "new", "sub"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != owner || st.Gid != owner {
			t.Errorf("%s belongs to %d:%d on the host, want %d", name, st.Uid, st.Gid, owner)
		}
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	dir := directory(t, owner)
	got := inDirectory(t, sandbox.Mount{Source: dir, Target: dir, UID: owner, GID: owner}, "cat file; echo x > file; echo x > new; chmod 777 file; rm -f file")
	if got.stdout != "content\n" {
		t.Errorf("got %q, want the file's content", got.stdout)
	}
	if strings.Count(got.stderr, "Read-only file system") != 4 {
		t.Errorf("got %q, want four refusals", got.stderr)
	}
}

func TestFilesOfOthersInADirectory(t *testing.T) {
	dir := directory(t, owner)
	others := filepath.Join(dir, "roots")
	if err := errors.Join(os.WriteFile(others, []byte("secret"), 0o600), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	got := inDirectory(t, sandbox.Mount{Source: dir, Target: dir, Writable: true, UID: owner, GID: owner}, "stat -c %U roots; cat roots; chown 1000 roots; echo x >> roots")
	if got.stdout != "nobody\n" {
		t.Errorf("got %q, want that the file is nobody's and can't be read", got.stdout)
	}
	if content, err := os.ReadFile(others); err != nil || string(content) != "secret" {
		t.Errorf("root's file now holds %q, %v", content, err)
	}
}

func TestNothingInADirectoryIsExecuted(t *testing.T) {
	dir := directory(t, owner)
	got := inDirectory(t, sandbox.Mount{Source: dir, Target: dir, Writable: true, UID: owner, GID: owner}, "cp /bin/true program && chmod 755 program && ./program && echo ran")
	if got.stdout != "" || !strings.Contains(got.stderr, "Permission denied") {
		t.Errorf("got %q, %q, want that it can't be executed", got.stdout, got.stderr)
	}
}

// TestNoSetuidFileIsMade: what a server leaves on the host must not run there as
// somebody else. probe_test.go has the calls one by one.
func TestNoSetuidFileIsMade(t *testing.T) {
	dir := directory(t, owner)
	inDirectory(t, sandbox.Mount{Source: dir, Target: dir, Writable: true, UID: owner, GID: owner},
		"cp /bin/true a; chmod u+s a; cp /bin/true b; chmod g+s b; cp -p /usr/bin/passwd c; mkdir d; chmod g+s d; install -m 6755 /bin/true e")
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < 5 {
		t.Fatalf("got %d files, %v, want the script's", len(entries), err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 {
			t.Errorf("%s has mode %v on the host", entry.Name(), info.Mode())
		}
	}
}

// TestRootsDirectory: without an owner to be, a server reads as nobody.
func TestRootsDirectory(t *testing.T) {
	dir := directory(t, 0)
	open := filepath.Join(dir, "open")
	if err := errors.Join(os.WriteFile(open, []byte("open\n"), 0o644), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	got := inDirectory(t, sandbox.Mount{Source: dir, Target: dir}, "cat open; cat file; echo x > new")
	if got.stdout != "open\n" {
		t.Errorf("got %q, want the open file alone", got.stdout)
	}
}

// TestStartRefuses has what must keep a sandbox from starting.
func TestStartRefuses(t *testing.T) {
	dir := directory(t, owner)
	link := dir + "-link"
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(link) })
	tests := []struct {
		name   string
		change func(*sandbox.Spec)
		want   string
	}{
		{"writing as root", func(s *sandbox.Spec) {
			s.Mounts = append(s.Mounts, sandbox.Mount{Source: dir, Target: dir, Writable: true})
		}, "never writes as root"},
		{"writing as root's group", func(s *sandbox.Spec) {
			s.Mounts = append(s.Mounts, sandbox.Mount{Source: dir, Target: dir, Writable: true, UID: 5})
		}, "never writes as root"},
		{"missing directory", func(s *sandbox.Spec) { s.Mounts = append(s.Mounts, sandbox.Mount{Source: dir + "/none", Target: dir}) }, dir + "/none does not exist"},
		{"linked directory", func(s *sandbox.Spec) { s.Mounts = append(s.Mounts, sandbox.Mount{Source: link, Target: dir}) }, "symbolic link"},
		{"missing mount", func(s *sandbox.Spec) { s.Mounts = append(s.Mounts, sandbox.Mount{Source: "/none", Target: "/none"}) }, "/none"},
		{"mount over what is not there", func(s *sandbox.Spec) { s.Mounts = append(s.Mounts, sandbox.Mount{Source: dir, Target: "/usr/none"}) }, "make it there, or mount it elsewhere"},
		{"covering the launcher", func(s *sandbox.Spec) { s.Mounts = append(s.Mounts, sandbox.Mount{Source: dir, Target: "/run"}) }, "the sandbox's own"},
		{"covering everything", func(s *sandbox.Spec) { s.Mounts = append(s.Mounts, sandbox.Mount{Source: dir, Target: "/"}) }, "the sandbox's own"},
		{"leaving the root", func(s *sandbox.Spec) { s.Mounts = append(s.Mounts, sandbox.Mount{Source: dir, Target: "../x"}) }, "absolute path"},
		{"unknown project", func(s *sandbox.Spec) { s.Project = "none" }, `project "none" is not known`},
		{"missing working folder", func(s *sandbox.Spec) { s.Dir = "/none" }, "/none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := spec(t, "/bin/true")
			tt.change(&s)
			box, err := tryStart(t, s)
			if err == nil {
				box.Kill()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), s.ID) {
				t.Errorf("got error %q, want it to name %q and %q", err, s.ID, tt.want)
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(bin), "roots", s.ID)); err == nil {
				t.Error("its root is still there")
			}
		})
	}
}
