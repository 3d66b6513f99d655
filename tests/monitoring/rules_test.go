package monitoring

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

const prometheus = "../../packaging/prometheus"

// groups is a file of rules.
type groups struct {
	Groups []struct {
		Rules []struct{ Alert, Record, Expr string }
	}
}

func rules(t *testing.T, file string) (g groups) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, filepath.Join(prometheus, file))), &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// promtool runs Prometheus' own checker in a folder.
func promtool(t *testing.T, dir string, args ...string) (output string, err error) {
	t.Helper()
	cmd := exec.Command("promtool", args...)
	cmd.Dir = dir
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// ruleTests are the files of testdata.
func ruleTests() []string { return []string{"rules.yaml", "objectives.yaml"} }

// Rules do what their tests say.
func TestRules(t *testing.T) {
	t.Parallel()
	if output, err := promtool(t, prometheus, "check", "rules", "recording.yaml", "alerts.yaml"); err != nil {
		t.Errorf("%v: %s", err, output)
	}
	if output, err := promtool(t, "testdata", append([]string{"test", "rules"}, ruleTests()...)...); err != nil {
		t.Errorf("%v: %s", err, output)
	}
}

// The tests of each alert fail if it never fires, and if it always does.
func TestRulesAreTested(t *testing.T) {
	t.Parallel()
	recording, err := filepath.Abs(filepath.Join(prometheus, "recording.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, expr := range []string{"vector(0) > 1", "vector(1) > 0"} {
		t.Run(expr, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			text, names := broken(t, expr)
			write(t, filepath.Join(dir, "alerts.yaml"), text)
			for _, name := range ruleTests() {
				moved := strings.NewReplacer("../../../packaging/prometheus/recording.yaml", recording, "../../../packaging/prometheus/alerts.yaml", "alerts.yaml")
				write(t, filepath.Join(dir, name), moved.Replace(read(t, filepath.Join("testdata", name))))
			}
			output, err := promtool(t, dir, append([]string{"test", "rules"}, ruleTests()...)...)
			if err == nil || len(names) < 15 {
				t.Fatalf("got %v of %d alerts that are wrong: %s", err, len(names), output)
			}
			for _, name := range names {
				if !strings.Contains(output, "alertname: "+name+",") {
					t.Errorf("%s: its tests pass", name)
				}
			}
		})
	}
}

// broken gives the alerts with another expression for all of them.
func broken(t *testing.T, expr string) (text string, names []string) {
	t.Helper()
	text = read(t, filepath.Join(prometheus, "alerts.yaml"))
	for _, g := range rules(t, "alerts.yaml").Groups {
		for _, r := range g.Rules {
			before := text
			if text = strings.Replace(text, "expr: "+r.Expr+"\n", "expr: "+expr+"\n", 1); text == before {
				t.Fatalf("%s: its expression is not found in the file", r.Alert)
			}
			names = append(names, r.Alert)
		}
	}
	return text, names
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
