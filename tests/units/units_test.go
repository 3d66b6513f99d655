// Package units_test has systemd judge the units as they are installed: whether they are
// right, and how much they leave open.
package units_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const units = "../../systemd"

// exposures are the most that each service may leave open, by systemd-analyze
// security: 0 is nothing, 10 everything. They go down, never up.
var exposures = map[string]float64{
	"mcp-gateway-proxy.service": 1.1,
	"mcp-gatewayd.service":      5.9,
}

// since are directives that older versions of systemd ignore with a warning, and the
// version that knows them: what the units do there without them is right, too.
var since = map[string]int{"DelegateSubgroup": 254, "RestartMaxDelaySec": 254, "RestartSteps": 254}

// TestUnits: systemd has nothing to say about the units, nor about the examples of
// drop-ins, each at the place that it names.
func TestUnits(t *testing.T) {
	t.Parallel()
	for _, complaint := range verify(t, installed(t)) {
		t.Errorf("the units: %s", complaint)
	}
	root := installed(t)
	examples, err := filepath.Glob(units + "/examples/*.conf")
	if err != nil || len(examples) < 8 {
		t.Fatalf("got %d examples: %v", len(examples), err)
	}
	for _, example := range examples {
		text := read(t, example)
		place := regexp.MustCompile(`(?m)^# (/etc/systemd/system/(\S+)\.d/\S+\.conf)\b`).FindStringSubmatch(text)
		if place == nil {
			t.Errorf("%s does not say where it goes", example)
			continue
		}
		if _, err := os.Stat(filepath.Join(units, place[2])); err != nil {
			t.Errorf("%s goes to a unit that is not there: %v", example, err)
		}
		write(t, root+place[1], text, 0o644)
	}
	for _, complaint := range verify(t, root) {
		t.Errorf("the examples: %s", complaint)
	}
}

// TestComplaints: a mistake in a unit or a drop-in is found.
func TestComplaints(t *testing.T) {
	t.Parallel()
	for _, mistake := range []string{"[Service]\nMemoryMaximum=1G\n", "[Service]\nMemoryMax=much\n", "[Service]\nExecStartPre=/usr/bin/absent\n", "[Unit]\nRequires=absent.service\n"} {
		root := installed(t)
		write(t, root+"/etc/systemd/system/mcp-gatewayd.service.d/mistake.conf", mistake, 0o644)
		if len(verify(t, root)) == 0 {
			t.Errorf("%q passes", mistake)
		}
	}
}

// TestExposure: a service leaves open what its unit gives a reason for, and no more.
func TestExposure(t *testing.T) {
	t.Parallel()
	for unit, most := range exposures {
		root := installed(t)
		got, rows := analyze(t, root, unit)
		t.Logf("%s: exposure %.1f", unit, got)
		if got > most {
			t.Errorf("%s: exposure %.1f, at most %.1f", unit, got, most)
		}
		for _, complaint := range unexplained(rows, reasons(read(t, filepath.Join(units, unit)))) {
			t.Errorf("%s: %s", unit, complaint)
		}
	}
}

// TestLoosening: what opens a service is found by both, its exposure and the reason that
// is missing; and so is a reason for what is not open.
func TestLoosening(t *testing.T) {
	t.Parallel()
	for unit, loosening := range map[string]string{
		"mcp-gateway-proxy.service": "[Service]\nProtectSystem=no\nNoNewPrivileges=no\nCapabilityBoundingSet=CAP_SYS_ADMIN\nSystemCallFilter=\n",
		"mcp-gatewayd.service":      "[Service]\nNoNewPrivileges=no\nSystemCallFilter=\nCapabilityBoundingSet=CAP_SYS_MODULE CAP_NET_ADMIN\n",
	} {
		root := installed(t)
		write(t, root+"/etc/systemd/system/"+unit+".d/loose.conf", loosening, 0o644)
		given := reasons(read(t, filepath.Join(units, unit)))
		got, rows := analyze(t, root, unit)
		if got <= exposures[unit] {
			t.Errorf("%s: exposure %.1f with %q", unit, got, loosening)
		}
		if len(unexplained(rows, given)) == 0 {
			t.Errorf("%s: every row has its reason with %q", unit, loosening)
		}
	}
	if got := unexplained([]row{{Set: new(bool), Name: "A="}}, map[string]string{}); len(got) != 1 {
		t.Errorf("got %q for a row without a reason", got)
	}
	set := true
	if got := unexplained([]row{{Set: &set, Name: "A="}}, map[string]string{"A=": "because"}); len(got) != 1 {
		t.Errorf("got %q for a reason without a row", got)
	}
}

// installed is a root folder with the units, the programs that they name, and the units of
// systemd that those name.
func installed(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	for _, program := range []string{"bin/mcp-gateway", "bin/mcp-gatewayd", "bin/mcp-gateway-proxy", "libexec/mcp-gateway/mcp-gateway-launch"} {
		write(t, root+"/usr/"+program, "#!/bin/sh\n", 0o755)
	}
	for _, target := range []string{"sysinit", "basic", "sockets", "shutdown", "multi-user", "network", "network-online"} {
		write(t, root+"/usr/lib/systemd/system/"+target+".target", "[Unit]\nDescription="+target+"\n", 0o644)
	}
	for _, unit := range names(t) {
		write(t, root+"/usr/lib/systemd/system/"+unit, read(t, filepath.Join(units, unit)), 0o644)
	}
	return root
}

// names are those of the units.
func names(t *testing.T) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(units)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".service") || strings.HasSuffix(e.Name(), ".socket") {
			all = append(all, e.Name())
		}
	}
	if len(all) < 9 {
		t.Fatalf("got the units %q", all)
	}
	return all
}

// verify gives what systemd says of the units, but that it is too old for some directives.
func verify(t *testing.T, root string) (complaints []string) {
	t.Helper()
	output, err := exec.Command("systemd-analyze", slices.Concat([]string{"verify", "--man=no", "--root=" + root}, names(t))...).CombinedOutput()
	if err != nil && len(output) == 0 {
		t.Fatalf("systemd-analyze verify: %v", err)
	}
	unknown := regexp.MustCompile(`Unknown key (?:name )?'(\w+)' in section`)
	for line := range strings.Lines(string(output)) {
		if key := unknown.FindStringSubmatch(line); key != nil && since[key[1]] > version(t) {
			continue
		}
		complaints = append(complaints, strings.TrimSpace(line))
	}
	return complaints
}

func version(t *testing.T) int {
	t.Helper()
	output, err := exec.Command("systemd-analyze", "--version").Output()
	if err != nil {
		t.Fatalf("systemd-analyze --version: %v", err)
	}
	fields := strings.Fields(string(output)) // "systemd 252 (252.38-1)"
	number, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	return number
}

// row is one of the properties that systemd-analyze security looks at.
type row struct {
	Set         *bool  `json:"set"` // nil: it does not matter for this service
	Name        string `json:"name"`
	Description string `json:"description"`
}

func analyze(t *testing.T, root, unit string) (exposure float64, rows []row) {
	t.Helper()
	security := func(more ...string) []byte {
		cmd := exec.Command("systemd-analyze", slices.Concat([]string{"security", "--offline=true", "--root=" + root}, more, []string{unit})...)
		output, err := cmd.Output()
		if err != nil {
			t.Fatalf("systemd-analyze security: %v", err)
		}
		return output
	}
	if err := json.Unmarshal(security("--json=short"), &rows); err != nil {
		t.Fatal(err)
	}
	overall := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindSubmatch(security("--no-pager"))
	if overall == nil || len(rows) < 70 {
		t.Fatalf("got %q and %d rows", overall, len(rows))
	}
	exposure, err := strconv.ParseFloat(string(overall[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return exposure, rows
}

// reasons are the comments of a unit that say why a directive is left out, by the names
// that systemd has for what is open then:
//
//	# Not PrivateNetwork=, IPAddressDeny=: servers need the network
func reasons(unit string) map[string]string {
	found := map[string]string{}
	for _, match := range regexp.MustCompile(`(?m)^# Not ([^:\n]+): (.+)$`).FindAllStringSubmatch(unit, -1) {
		for name := range strings.SplitSeq(match[1], ", ") {
			found[name] = match[2]
		}
	}
	return found
}

// unexplained says which rows are open without a reason, and which reasons are for nothing.
func unexplained(rows []row, given map[string]string) (complaints []string) {
	for _, r := range rows {
		open := r.Set != nil && !*r.Set
		switch _, said := given[r.Name]; {
		case open && !said:
			complaints = append(complaints, fmt.Sprintf("%s is open (%s), and no comment says why: # Not %[1]s: reason", r.Name, r.Description))
		case !open && said:
			complaints = append(complaints, fmt.Sprintf("a comment says why %s is not there, and it is", r.Name))
		}
	}
	return complaints
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), mode)
	}
	if err != nil {
		t.Fatal(err)
	}
}
