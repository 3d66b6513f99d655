package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const clientFile = `{"inputs":[{"id":"t","description":"the token"}], // of VS Code
"servers":{
  "Notes":{"command":"npx","args":["-y","@x/notes","DIR"],"env":{"API_KEY":"s3cr3t-value","LOG":"debug","T":"${input:t}"},},
  "far":{"type":"http","url":"https://api.example.com/mcp?key=s3cr3t-value"},
  "boxed":{"command":"docker","args":["run","-i","x"]},
  "here":{"command":"sh","args":["-c","echo ${workspaceFolder} ${NONE}", "--api-key","s3cr3t-value"]},
}}`

// importFile makes a client's file, and a folder that it names.
func importFile(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "mcp.json")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(clientFile, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// What is printed is a configuration that check takes, and has no secret.
func TestImportPrints(t *testing.T) {
	t.Parallel()
	file := importFile(t)
	out, problems, status := runCommand("import", file)
	if status != 0 || strings.Contains(out+problems, "s3cr3t") {
		t.Errorf("got status %d, and a secret or not:\n%s\n%s", status, out, problems)
	}
	for _, want := range []string{
		`server "far" is left out: it is reached over the network, at api.example.com`, `server "boxed" is left out: docker needs`,
		`server notes needs its "API_KEY": write the value in ` + file + " to " + installedSecrets + "/notes.API_KEY",
		`server notes needs its "T": write what the client asks for as "t" (the token)`,
	} {
		if !strings.Contains(problems, want) {
			t.Errorf("got %s\nwant %s", problems, want)
		}
	}
	made := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(made, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, problems, status := runCommand("check", made); status != 0 || !strings.Contains(out, "loads: 2 servers") {
		t.Errorf("check: status %d, %s%s", status, out, problems)
	}
}

func TestImportInto(t *testing.T) {
	t.Parallel()
	const before = "# mine\nservers:\n  # of old\n  old: {command: cat} # kept\n"
	write := func(t *testing.T, content string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tt := range []struct {
		name, content string
		args          []string
		answer        string
		status        int
		written       bool
		say           string
	}{
		{"yes", before, nil, "y\n", 0, true, "Add these 2 servers"},
		{"no", before, nil, "n\n", 2, false, "nothing was changed"},
		{"no answer", before, nil, "", 2, false, "nothing was changed"},
		{"without asking", before, []string{"--yes"}, "", 0, true, "is written"},
		{"dry run", before, []string{"--dry-run", "--yes"}, "", 0, false, "+   notes:"},
		{"taken", "servers:\n  here: {command: cat}\n", []string{"--yes"}, "", 1, false, `there is a server "here" already, in line 2`},
		{"a mistake", "servers:\n  x: {comand: cat}\n", []string{"--yes"}, "", 1, false, "does not load as it is"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			into := write(t, tt.content)
			var out bytes.Buffer
			root := newCommand()
			root.SetOut(&out)
			root.SetErr(&out)
			root.SetIn(strings.NewReader(tt.answer))
			root.SetArgs(append([]string{"import", importFile(t), "--into", into}, tt.args...))
			status, line := exitStatus(root.Execute())
			if status != tt.status || !strings.Contains(out.String()+line, tt.say) {
				t.Errorf("got status %d, %s and %s, want %d and %s", status, line, out.String(), tt.status, tt.say)
			}
			content, err := os.ReadFile(into)
			if err != nil {
				t.Fatal(err)
			}
			if !tt.written {
				if string(content) != tt.content {
					t.Errorf("it was changed to %s", content)
				}
				return
			}
			for line := range strings.Lines(before) {
				if !strings.Contains(string(content), line) {
					t.Errorf("%q is not there any more:\n%s", line, content)
				}
			}
			info, err := os.Stat(into)
			if err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("got %v and %v, want mode 0640", info.Mode(), err)
			}
			if out, problems, status := runCommand("check", into); status != 0 || !strings.Contains(out, "loads: 3 servers") {
				t.Errorf("check: status %d, %s%s", status, out, problems)
			}
		})
	}
}

func TestImportSecrets(t *testing.T) {
	t.Parallel()
	file, secrets := importFile(t), filepath.Join(t.TempDir(), "secrets")
	out, problems, status := runCommand("import", file, "--secrets-dir", secrets)
	name := filepath.Join(secrets, "notes.API_KEY")
	content, err := os.ReadFile(name)
	if status != 0 || err != nil || string(content) != "s3cr3t-value" || !strings.Contains(out, "${file:"+name+"}") {
		t.Fatalf("got status %d, %v, %q and\n%s%s", status, err, content, out, problems)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v and %v, want mode 0600", info.Mode(), err)
	}
	if strings.Contains(problems, `needs its "API_KEY"`) || !strings.Contains(problems, name+" is written: it has the value in ") || !strings.Contains(problems, `needs its "T"`) {
		t.Errorf("got %s, want only what is not known", problems)
	}
	if err := os.WriteFile(name, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, problems, status := runCommand("import", file, "--secrets-dir", secrets); status != 1 || !strings.Contains(problems, "holds something else") {
		t.Errorf("got status %d and %s: it must not be overwritten", status, problems)
	}
}

func TestImportTwice(t *testing.T) {
	t.Parallel()
	file := importFile(t)
	if _, problems, status := runCommand("import", file, file); status != 1 || !strings.Contains(problems, "rename one of them") {
		t.Errorf("got status %d and %s", status, problems)
	}
	if _, problems, status := runCommand("import", file, "--into", "x.toml"); status != 1 || !strings.Contains(problems, "TOML") {
		t.Errorf("got status %d and %s", status, problems)
	}
}

func TestExport(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(config, []byte("transports: {http: {port: 8080}}\nservers: {a: {command: sh}, b: {command: sh, enabled: false}, c: {command: sh}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args   string
		status int
		want   string
	}{
		{"--client cursor", 0, "http://127.0.0.1:8080/servers/c/mcp"},
		{"--client cursor b", 0, "http://127.0.0.1:8080/servers/b/mcp"},
		{"--client vscode --url https://g a", 0, "https://g/servers/a/mcp"},
		{"--client cursor d", 1, `there is no server "d"`},
		{"--client emacs", 2, `client "emacs" is not known`},
		{"--client cursor --key a --key-env b", 2, "key-env"},
		{"", 2, `"client" not set`},
	} {
		out, problems, status := runCommand(append([]string{"export", "--config", config}, strings.Fields(tt.args)...)...)
		if status != tt.status || !strings.Contains(out+problems, tt.want) {
			t.Errorf("%s: got status %d, %s%s, want %d and %s", tt.args, status, out, problems, tt.status, tt.want)
		}
		if tt.args == "--client cursor" && strings.Contains(out, "/b/") {
			t.Errorf("%s: a server that is off is in %s", tt.args, out)
		}
	}
}

func TestImage(t *testing.T) {
	t.Parallel()
	out, _, status := runCommand("image", "which", "sh")
	if status != 0 || !strings.Contains(out, "/bin/sh") {
		t.Errorf("got status %d and %s", status, out)
	}
	bin := filepath.Join(t.TempDir(), "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(bin, "tool")
	if err := os.WriteFile(program, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	out, _, status = runCommand("image", "which", program, "-o", "json")
	if status != statusUsage || !strings.Contains(out, `"mount": "`+filepath.Dir(bin)) {
		t.Errorf("got status %d and %s", status, out)
	}
	out, _, status = runCommand("image", "which", "tool", "--mount", filepath.Dir(bin))
	if status != 0 || !strings.Contains(out, program) {
		t.Errorf("got status %d and %s", status, out)
	}
	if out, _, status = runCommand("image", "show", "-o", "json"); status != 0 || !strings.Contains(out, `"target": "/usr"`) {
		t.Errorf("got status %d and %s", status, out)
	}
	if out, _, status = runCommand("image", "list"); status != 0 || !strings.Contains(out, "\nhost  ") {
		t.Errorf("got status %d and %s", status, out)
	}
	if _, problems, status := runCommand("image", "show", "other"); status != 1 || !strings.Contains(problems, "there is host") {
		t.Errorf("got status %d and %s", status, problems)
	}
}
