package e2e_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPrivileges looks at the processes as the host sees them.
func TestPrivileges(t *testing.T) {
	t.Parallel()
	g := start(t, servers(testserver("one", "eager: true"), testserver("two", "eager: true")))
	one, two := g.only(t, "one"), g.only(t, "two")
	if one.uid == two.uid {
		t.Errorf("two servers have the same uid %d", one.uid)
	}
	for _, i := range []instance{one, two} {
		for _, pid := range []int{i.launcher, i.serverPID(t)} {
			got := status(pid)
			for _, name := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
				checkField(t, got, name, "0000000000000000")
			}
			checkField(t, got, "NoNewPrivs", "1")
			checkField(t, got, "Seccomp", "2")
			for _, name := range []string{"Uid", "Gid"} {
				numbers := ids(got[name])
				if len(numbers) != 4 || slices.Min(numbers) <= 100000 {
					t.Errorf("%s of server %q: got %v, want four above 100000", name, i.server, numbers)
				}
			}
			for _, name := range ids(got["Groups"]) {
				if name <= 100000 {
					t.Errorf("server %q is in group %d of the host", i.server, name)
				}
			}
		}
	}
	got := status(g.proxy)
	for _, name := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		checkField(t, got, name, "0000000000000000")
	}
	checkField(t, got, "NoNewPrivs", "1")
	if numbers := ids(got["Uid"]); len(numbers) != 4 || slices.Contains(numbers, 0) {
		t.Errorf("the proxy's uids: got %v, want four that are not 0", numbers)
	}
}

func checkField(t *testing.T, status map[string]string, name, want string) {
	t.Helper()
	if got := status[name]; got != want {
		t.Errorf("%s of process %s (%s): got %q, want %q", name, status["Pid"], status["Name"], got, want)
	}
}

// TestFilesOutside has a server that checks nothing itself try to leave its
// directory: only the kernel holds it back.
func TestFilesOutside(t *testing.T) {
	t.Parallel()
	alpha := owned(t, owner, "note.txt", "alpha's note")
	beta := owned(t, owner, "note.txt", "beta's note")
	home := owned(t, 0, ".profile", "root's")
	g := start(t, "projects:\n  alpha: {allowed_directories: ["+alpha+":rw]}\n  beta: {allowed_directories: ["+beta+":ro]}\n",
		servers(testserver("a", "project: alpha"), testserver("b", "project: beta")))
	a, b := g.open(t, "a"), g.open(t, "b")

	if got, want := a.ask(t, "read_file", path(alpha, "note.txt")), "alpha's note"; got != want {
		t.Errorf("read its own directory: got %q, want %q", got, want)
	}
	if got, want := b.ask(t, "read_file", path(beta, "note.txt")), "beta's note"; got != want {
		t.Errorf("read its own directory: got %q, want %q", got, want)
	}
	if err := os.Symlink(filepath.Join(beta, "note.txt"), filepath.Join(alpha, "link")); err != nil {
		t.Fatal(err)
	}
	outside := []string{
		"/etc/shadow", "/etc/machine-id", "/root/.bashrc", "/root", "/home", "/var/log", "/var/lib", "/proc/1/root/etc/shadow", "/proc/kcore",
		filepath.Join(beta, "note.txt"), filepath.Join(alpha, "link"), filepath.Join(alpha, "..", filepath.Base(beta), "note.txt"),
		filepath.Join(home, ".profile"), filepath.Dir(alpha) + "/bin/mcp-gateway", g.config(), filepath.Join(g.state(), "keys.json"),
		"/run/mcp-gateway/control.sock", g.runDir,
	}
	for _, p := range outside {
		if text, failed := a.try(t, "read_file", path(p)); !failed {
			t.Errorf("read_file %s: got %q, want an error", p, text)
		}
	}
	// Nothing but the way to its own directory is there, not even by name.
	if got, want := a.ask(t, "list_dir", path(built.top)), filepath.Base(alpha); got != want {
		t.Errorf("list_dir %s: got %q, want %q", built.top, got, want)
	}
	if text, failed := b.try(t, "write_file", map[string]any{"path": filepath.Join(beta, "new.txt"), "content": "x"}); !failed || !strings.Contains(text, "read-only file system") {
		t.Errorf("write to a read-only directory: got %q, want an error that says so", text)
	}
}

// path is the argument of the tools that take only a path.
func path(elements ...string) map[string]string {
	return map[string]string{"path": filepath.Join(elements...)}
}

// TestWrites has a server write as it likes.
func TestWrites(t *testing.T) {
	t.Parallel()
	project := owned(t, owner, "note.txt", "as it was")
	roots := folder(t)
	if err := os.Chmod(roots, 0o777); err != nil {
		t.Fatal(err)
	}
	g := start(t, servers(testserver("files", "allowed_directories: ["+project+", {path: "+roots+", access: ro}]")))
	s := g.open(t, "files")
	s.ask(t, "write_file", map[string]any{"path": filepath.Join(project, "new.txt"), "content": "new"})
	checkFile(t, filepath.Join(project, "new.txt"), "new", owner)
	for _, mode := range []string{"4755", "2755", "6755"} {
		file := filepath.Join(project, "program-"+mode)
		if text, failed := s.try(t, "write_file", map[string]any{"path": file, "content": "x", "mode": mode}); !failed {
			t.Errorf("make a file of mode %s: got %q, want an error", mode, text)
		}
		checkFile(t, file, "x", owner)
	}
	for _, p := range []string{filepath.Join(roots, "x"), "/etc/x", "/usr/x", "/x", "/srv/e2e/testserver"} {
		if text, failed := s.try(t, "write_file", map[string]any{"path": p, "content": "x"}); !failed {
			t.Errorf("write %s: got %q, want an error", p, text)
		}
	}
	if text, failed := s.try(t, "run", map[string]any{"argv": []string{filepath.Join(project, "program-4755")}}); !failed {
		t.Errorf("run what it wrote: got %q, want an error", text)
	}
}

// TestPipes has a server that opens its standard streams by name, as a socket does
// not allow.
func TestPipes(t *testing.T) {
	t.Parallel()
	dir := owned(t, owner, "server.sh", `#!/bin/sh
while read -r line < /dev/stdin; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  case $line in
  *'"initialize"'*) echo '{"jsonrpc":"2.0","id":'"$id"',"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"script","version":"1"}}}' > /dev/stdout ;;
  *'"tools/call"'*) echo '{"jsonrpc":"2.0","id":'"$id"',"result":{"content":[{"type":"text","text":"from a script"}]}}' > /dev/stdout ;;
  esac
done
`)
	script := func(name, stdio string) string {
		return entry(name, "command: /bin/sh", "args: ["+dir+"/server.sh]", "allowed_directories: ["+dir+":ro]", "stdio: "+stdio, "timeout: 5s")
	}
	g := start(t, servers(script("pipes", "pipes"), script("socket", "socket")))
	if got, want := g.open(t, "pipes").ask(t, "anything", struct{}{}), "from a script"; got != want {
		t.Errorf("with pipes: got %q, want %q", got, want)
	}
	// Else the test would prove nothing: the script really needs pipes.
	g.at("socket").open(t).rpcError(t, "0")
}
