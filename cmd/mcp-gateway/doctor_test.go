package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mcpgateway/runtime/doctor"
)

// What is missing is exit status 2, and named in the table and in the document.
func TestDoctor(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(config, []byte("servers: {a: {comand: sh}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"doctor", "--config", config, "--state", t.TempDir()}
	out, problems, status := runCommand(args...)
	if status != statusUsage || problems != "" {
		t.Errorf("got status %d and %s", status, problems)
	}
	for _, want := range []string{"\n  missing  configuration ", "c.yaml:1:15: servers.a.comand: unknown key", "→ mcp-gateway check " + config, "\n  missing  mcp-gatewayd ", " missing\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("got\n%s\nwant %s in it", out, want)
		}
	}
	out, _, status = runCommand(append(args, "-o", "json")...)
	var document examined
	if err := json.Unmarshal([]byte(out), &document); err != nil || status != statusUsage || document.Good || len(document.Findings) < 10 {
		t.Errorf("got status %d, %v and %s", status, err, out)
	}
}

func TestInstallation(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("it makes files of root: run it as root")
	}
	bin := t.TempDir()
	for name, mode := range map[string]os.FileMode{"mcp-gatewayd": 0o755, "mcp-gateway-proxy": 0o644, "mcp-gateway-launch": 0o775} {
		path := filepath.Join(bin, name)
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	i := installation{config: filepath.Join(bin, "none.yaml")}
	i.binaries(bin)
	i.configuration()
	want := []struct {
		state doctor.State
		check string
	}{{doctor.Missing, "mcp-gateway-proxy"}, {doctor.Warning, "mcp-gateway-launch"}, {doctor.Note, "configuration"}}
	if len(i.findings) != len(want) {
		t.Fatalf("got %+v", i.findings)
	}
	for n, w := range want {
		if f := i.findings[n]; f.State != w.state || f.Check != w.check || f.Fix == "" {
			t.Errorf("got %+v, want %v", f, w)
		}
	}
}

func TestDoctorPrints(t *testing.T) {
	t.Parallel()
	d := examined{Findings: []doctor.Finding{
		{Topic: "a", Check: "one", State: doctor.OK, What: "good"},
		{Topic: "a", Check: "longer", State: doctor.Missing, What: "not\x1b there", Fix: "get it"},
		{Topic: "b", Check: "two", State: doctor.Note, What: "odd", Fix: "leave it"},
	}}
	var out bytes.Buffer
	if err := d.print(&out); err != nil {
		t.Fatal(err)
	}
	want := "a\n  ok       one     good\n  missing  longer  not\\u{1b} there\n                   → get it\nb\n  note     two     odd\n                   → leave it\n\n1 ok, 1 notes, 0 warnings, 1 missing\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
