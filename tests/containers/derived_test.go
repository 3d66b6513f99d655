package containers_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// TestPodDerived makes the example of a derived image with this host as its base, as
// far as it can be made without an engine: what is copied over it. A server then has
// the base's Python.
func TestPodDerived(t *testing.T) {
	oneRuntime(t, func(t *testing.T, runtime string) {
		content, err := os.ReadFile(filepath.Join(source, "packaging/docker/examples/node.Dockerfile"))
		if err != nil {
			t.Fatal(err)
		}
		copied := volume(t, 0o755, 0)
		for _, line := range regexp.MustCompile(`(?m)^COPY --from=daemon (/\S+/) (/\S+/)$`).FindAllStringSubmatch(string(content), -1) {
			to := filepath.Join(copied, line[2])
			if err := os.MkdirAll(to, 0o755); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("cp", "-a", filepath.Join(made.dir, "daemon", line[1])+"/.", to).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
		g := newCompose(t, runtime)
		g.daemon.mountOver(copied, "/")
		script := volume(t, 0o755, 0)
		write(t, filepath.Join(script, "server.py"), mustRead("testdata/server.py"))
		g.daemon.bind(script, "/opt/derived", "ro")
		config := configuration + "  derived: {command: python3, args: [/opt/derived/server.py], mounts: [/opt/derived], profile: python}\n"
		write(t, g.daemon.mountedAt("/etc/mcp-gateway/mcp-gateway.yaml"), config)
		g.up()
		if status, answer := g.call("derived", "version", `{}`); status != 200 || !regexp.MustCompile(`Python 3\.`).MatchString(answer) {
			t.Errorf("got %d %s, want Python's version", status, answer)
		}
		g.checkCommand()
	})
}
