package e2e_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestUpRefuses has `up` meet what it cannot start with. It says what, ends with
// status 1 and leaves nothing.
func TestUpRefuses(t *testing.T) {
	t.Parallel()
	tool := outsideUsr(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() }) // after the subtests
	port := taken.Addr().(*net.TCPAddr).Port
	tests := []struct {
		name     string
		sections string
		want     []string
	}{
		{"invisible command", servers(testserver("good", "eager: true"), entry("bad", "command: "+tool, "eager: true")),
			[]string{`start server "bad": command "` + tool + `" is not visible`, "add a read-only mount for " + filepath.Dir(tool)}},
		{"server that ends", servers(testserver("good", "eager: true"), testserver("bad", `args: [-misbehave, exit, -n, "5"]`, "eager: true")),
			[]string{`start server "bad": server "bad" exited with status 5`}},
		{"two bad servers", servers(testserver("one", `args: [-misbehave, exit, -n, "5"]`, "eager: true"), testserver("two", `args: [-misbehave, exit, -n, "6"]`, "eager: true")),
			[]string{`start server "one": server "one" exited with status 5`, `start server "two": server "two" exited with status 6`}},
		{"server that never answers", servers(testserver("bad", "args: [-misbehave, hang]", "eager: true", "timeout: 1s")),
			[]string{`start server "bad": server "bad" did not answer "initialize" within 1s, its limit`}},
		{"directory that is not there", servers(testserver("bad", "eager: true", "allowed_directories: [/srv/no-such-folder]")),
			[]string{`start server "bad"`, "/srv/no-such-folder", "does not exist"}},
		{"port in use", fmt.Sprintf("transports: {http: {port: %d}}\n", port) + servers(testserver("good")),
			[]string{fmt.Sprintf("open transports.http: 127.0.0.1:%d is held by %q (pid %d, user root): stop it, or name another port", port, "e2e.test", os.Getpid())}},
		{"more promised than there may be", "gateway: {max_servers: 2}\n" + servers(testserver("good", "warm: 2"), testserver("shared", "instances: shared")),
			[]string{"gateway.max_servers: is 2, but warm and eager instances and replicas are 3 together"}},
		{"no certificate", "transports: {http: {tls: {cert_file: /no/such/cert.pem, key_file: /etc/passwd}}}\n" + servers(testserver("good")),
			[]string{"mcp-gateway.yaml:3:38: transports.http.tls.cert_file: open /no/such/cert.pem: no such file", "mcp-gateway.yaml:3:67: transports.http.tls.key_file: /etc/passwd: can be read by others"}},
		{"no transport", "transports: {http: {enabled: false}}\n" + servers(testserver("good")),
			[]string{"transports: none is enabled"}},
		{"mistakes", servers(testserver("good", "tiemout: 1s", "stdio: tape")),
			[]string{"mcp-gateway.yaml:7:5: ", "tiemout", "mcp-gateway.yaml:8:12: ", "tape"}},
		{"not enforced yet", "service_discovery: {type: kubernetes}\n" + servers(testserver("good")),
			[]string{"mcp-gateway.yaml:3:", "service_discovery"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			before := runFolders(t)
			g := launch(t, tt.sections)
			eventually(t, "up has ended", func() bool {
				if pid, ok := childNamed(g.cmd.Process.Pid, "mcp-gatewayd"); ok {
					g.daemon = pid
				}
				return g.hasEnded()
			})
			text := g.log.String() + g.out.String()
			if got, want := g.cmd.ProcessState.ExitCode(), 1; got != want {
				t.Errorf("exit status: got %d, want %d", got, want)
			}
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("got %s, want it to hold %q", text, want)
				}
			}
			if _, err := os.Lstat(filepath.Join(g.dir, "ready.json")); err == nil {
				t.Error("it says that it is ready")
			}
			for _, pid := range processes() {
				if strings.Contains(procFile(pid, "cmdline"), g.dir) {
					t.Errorf("process %d is left: %q", pid, procFile(pid, "cmdline"))
				}
				checkMounts(t, pid, g.dir)
			}
			if left := g.sandboxed(); len(left) > 0 {
				t.Errorf("processes in sandboxes are left: %v", left)
			}
			eventually(t, "no folder is left in /run", func() bool { return len(orphans(t, before)) == 0 })
			if left := g.cgroups(); len(left) > 0 {
				t.Errorf("cgroups are left: %q", left)
			}
		})
	}
}

// outsideUsr is a program in a folder that no image shows.
func outsideUsr(t *testing.T) string {
	t.Helper()
	path := filepath.Join(folder(t), "tool")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// runFolders are the run-time folders of all gateways on this host.
func runFolders(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob("/run/mcp-gateway-up-*")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// orphans are run-time folders that were not there before and that no process has
// on its command line: those of other gateways that run have a daemon that does.
func orphans(t *testing.T, before []string) []string {
	t.Helper()
	var commands strings.Builder
	for _, pid := range processes() {
		commands.WriteString(procFile(pid, "cmdline"))
	}
	return slices.DeleteFunc(runFolders(t), func(dir string) bool {
		return slices.Contains(before, dir) || strings.Contains(commands.String(), dir)
	})
}

// TestUpWelcomes runs what `up` prints.
func TestUpWelcomes(t *testing.T) {
	t.Parallel()
	g := start(t, servers(testserver("files")))
	eventually(t, "up has printed its welcome", func() bool { return strings.Contains(g.out.String(), "Ctrl-C stops it.") })
	for line := range strings.Lines(g.out.String()) {
		if strings.HasPrefix(line, "curl ") {
			if got, want := shell(t, line), `"name":"read_file"`; !strings.Contains(got, want) {
				t.Errorf("the curl line: got %s, want it to hold %s", got, want)
			}
			return
		}
	}
	t.Errorf("got %s, want a curl line in it", g.out.String())
}
