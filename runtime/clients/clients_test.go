package clients

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

func testHost(secrets string) Host {
	return Host{
		Secrets: secrets, Home: "/home/ana",
		Lookup: func(name string) (string, bool) { return "value of " + name, name == "SET" },
		Mount: func(command string) (string, string) {
			switch command {
			case "hidden":
				return "/opt/hidden", ""
			case "absent":
				return "", "this host has no absent: install it"
			}
			return "", ""
		},
		Registry: func(command string) string {
			if command == "npx" {
				return "registry.example:443"
			}
			return ""
		},
	}
}

// folder makes a folder with a program's package and data, and a client's file of it.
func folder(t *testing.T, name, content string) *File {
	t.Helper()
	dir := t.TempDir()
	for path, text := range map[string]string{"pkg/package.json": "{}", "pkg/dist/index.js": "", "data/x": "", ".env": "# no\nexport TOKEN='from file'\nMODE=fast\n"} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := Parse(filepath.Join(dir, name), []byte(strings.ReplaceAll(content, "DIR", dir)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestConvert(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, file, server string
		want               Entry  // but for comments and secrets
		comment            string // part of one
		secret             string // "VARIABLE = value" or "VARIABLE: about" of the only one
	}{
		{name: "plain", server: `{"command":"cat","args":["a"],"env":{"LOG_LEVEL":"debug","N":3,"ON":true,"URL":"https://api.example.com","X":null}}`,
			want:    Entry{Command: "cat", Args: []string{"a"}, Env: map[string]string{"LOG_LEVEL": "debug", "N": "3", "ON": "true", "URL": "https://api.example.com"}},
			comment: "it has no network"},
		{name: "literal text", server: `{"command":"cat","args":["a${b c}d"]}`, want: Entry{Command: "cat", Args: []string{"a$${b c}d"}}, comment: "${b c} is the client's"},
		{name: "secret", server: `{"command":"cat","env":{"API_KEY":"s3cr3t"}}`, want: Entry{Command: "cat", Env: map[string]string{"API_KEY": "${file:/s/x.API_KEY}"}}, secret: "API_KEY = s3cr3t"},
		{name: "secret by its name", server: `{"command":"cat","env":{"DB_PASSWORD":"hunter"}}`, want: Entry{Command: "cat", Env: map[string]string{"DB_PASSWORD": "${file:/s/x.DB_PASSWORD}"}}, secret: "DB_PASSWORD = hunter"},
		{name: "secret by its look", server: `{"command":"cat","env":{"A":"sk-abc.DEF-123"}}`, want: Entry{Command: "cat", Env: map[string]string{"A": "${file:/s/x.A}"}}, secret: "A = sk-abc.DEF-123"},
		{name: "secret in a URL", server: `{"command":"cat","env":{"DB":"https://u:p@h/"}}`, want: Entry{Command: "cat", Env: map[string]string{"DB": "${file:/s/x.DB}"}}, secret: "DB = https://u:p@h/"},
		{name: "variable that is set", server: `{"command":"cat","env":{"A":"Bearer ${SET}"}}`, want: Entry{Command: "cat", Env: map[string]string{"A": "${file:/s/x.A}"}}, secret: "A = Bearer value of SET"},
		{name: "variable that is not", server: `{"command":"cat","env":{"A":"${env:UNSET}"}}`, want: Entry{Command: "cat", Env: map[string]string{"A": "${file:/s/x.A}"}}, secret: "A: the variable UNSET of the client's environment"},
		{name: "default", server: `{"command":"cat","env":{"A":"${UNSET:-d}"}}`, want: Entry{Command: "cat", Env: map[string]string{"A": "${file:/s/x.A}"}}, secret: "A = d"},
		{name: "input", server: `{"command":"cat","env":{"A":"${input:t}"}}`, want: Entry{Command: "cat", Env: map[string]string{"A": "${file:/s/x.A}"}}, secret: `A: what the client asks for as "t" (the token)`},
		{name: "file of variables", server: `{"command":"cat","envFile":"${workspaceFolder}/.env"}`, want: Entry{Command: "cat", Env: map[string]string{"MODE": "fast", "TOKEN": "${file:/s/x.TOKEN}"}}, secret: "TOKEN = from file"},
		{name: "no file of variables", server: `{"command":"cat","envFile":"none"}`, want: Entry{Command: "cat"}, comment: "which is not read here"},
		{name: "file of others", server: `{"command":"cat","envFile":"/etc/os-release"}`, want: Entry{Command: "cat"}, comment: "in /etc/os-release, which is not read here"},
		{name: "file of others by dots", server: `{"command":"cat","envFile":"./../../../etc/os-release"}`, want: Entry{Command: "cat"}, comment: "which is not read here"},
		{name: "argument that is secret", server: `{"command":"cat","args":["--api-key","s3cr3t","--token=abc-def1","postgres://u:p@h/d","--header","Authorization: Bearer q"]}`,
			want:    Entry{Command: "cat", Args: []string{"--api-key", "${X_ARG_2:-}", "--token=${X_ARG_3:-}", "${X_ARG_4:-}", "--header", "Authorization: ${X_ARG_6:-}"}},
			comment: "argument 2 holds a secret"},
		{name: "argument with a variable", server: `{"command":"cat","args":["-k=${TOKEN}","${A:-b}","${input:t}"]}`, want: Entry{Command: "cat", Args: []string{"-k=${TOKEN:-}", "${A:-b}", "${MCP_T:-}"}}, comment: "needs the variable TOKEN"},
		{name: "npx", server: `{"command":"npx","args":["-y","@scope/server","${workspaceFolder}/data"]}`, file: ".vscode/mcp.json",
			want:    Entry{Command: "npx", Args: []string{"-y", "@scope/server", "DIR/data"}, Profile: "network-client", Network: []string{"registry.example:443"}, Directories: []string{"DIR/data"}},
			comment: "fetches the program whenever"},
		{name: "npx for Windows", server: `{"command":"cmd","args":["/c","npx","-y","s"]}`, want: Entry{Command: "npx", Args: []string{"-y", "s"}, Profile: "network-client", Network: []string{"registry.example:443"}}},
		{name: "uvx", server: `{"command":"uvx","args":["s"]}`, want: Entry{Command: "uvx", Args: []string{"s"}, Profile: "network-client"}, comment: "it needs the registry that uvx fetches from"},
		{name: "node", server: `{"command":"node","args":["./pkg/dist/index.js"]}`, want: Entry{Command: "node", Args: []string{"DIR/pkg/dist/index.js"}, Profile: "node", Mounts: []string{"DIR/pkg"}}},
		{name: "folder of a program", server: `{"command":"python3","args":["--directory","DIR/pkg"]}`, want: Entry{Command: "python3", Args: []string{"--directory", "DIR/pkg"}, Profile: "python", Mounts: []string{"DIR/pkg"}}},
		{name: "program in its working directory", server: `{"command":"node","args":["DIR/pkg/dist/index.js"],"cwd":"DIR"}`,
			want: Entry{Command: "node", Args: []string{"DIR/pkg/dist/index.js"}, Profile: "node", Directories: []string{"DIR"}, Dir: "DIR"}},
		{name: "elsewhere", server: `{"command":"hidden"}`, want: Entry{Command: "hidden", Mounts: []string{"/opt/hidden"}}},
		{name: "absent, off", server: `{"command":"absent","disabled":true}`, want: Entry{Command: "absent", Off: true}, comment: "this host has no absent"},
		{name: "relative", server: `{"command":"./pkg/run"}`, want: Entry{Command: "DIR/pkg/run"}},
		{name: "home", server: `{"command":"~/run","args":["${userHome}/x"]}`, want: Entry{Command: "/home/ana/run", Args: []string{"/home/ana/x"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := folder(t, "c.json", `{"mcpServers":{"x":`+tt.server+`},"inputs":[{"id":"t","description":"the token"}]}`)
			entries, skipped := f.Convert(testHost("/s"))
			if len(entries) != 1 || len(skipped) > 0 {
				t.Fatalf("got %v and %v", entries, skipped)
			}
			got := entries[0]
			var secrets []string
			for _, s := range got.Secrets {
				if s.Known {
					secrets = append(secrets, s.Variable+" = "+s.Value)
				} else {
					secrets = append(secrets, s.Variable+": "+s.About)
				}
			}
			if strings.Join(secrets, ", ") != tt.secret {
				t.Errorf("got secrets %q, want %q", secrets, tt.secret)
			}
			if tt.comment != "" && !strings.Contains(strings.Join(got.Comments, "\n"), tt.comment) {
				t.Errorf("got comments %q, want %q", got.Comments, tt.comment)
			}
			tt.want.Name = "x"
			want := strings.ReplaceAll(bare(tt.want), "DIR", f.Folder)
			if bare(got) != want {
				t.Errorf("got\n%s\nwant\n%s", bare(got), want)
			}
		})
	}
}

// bare is an entry without its comments.
func bare(e Entry) string {
	e.Comments, e.Secrets = nil, nil
	return Text([]Entry{e}, "")
}

func TestSkipped(t *testing.T) {
	t.Parallel()
	f := folder(t, "c.json", `{"mcpServers":{
		"docker":{"command":"/usr/bin/docker","args":["run","-e","TOKEN=x"]},
		"remote":{"type":"sse","url":"https://u:secret@api.example.com/x?key=secret"},
		"wind":{"serverUrl":"https://w.example.com"},
		"日本":{"command":"cat"},
		"My Server":{"command":"cat"}}}`)
	entries, skipped := f.Convert(testHost("/s"))
	if len(entries) != 1 || entries[0].Name != "my-server" || !strings.Contains(entries[0].Comments[0], `was called "My Server"`) {
		t.Errorf("got %+v", entries)
	}
	said := fmt.Sprint(skipped)
	for _, want := range []string{"docker needs its daemon's socket", "at api.example.com: the gateway runs servers itself", "at w.example.com", "can be a name here"} {
		if !strings.Contains(said, want) {
			t.Errorf("got %s, want %s", said, want)
		}
	}
	if strings.Contains(said, "secret") {
		t.Errorf("got a secret in %s", said)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, content, want, problem string }{
		{"Claude", `{"mcpServers":{"b":{"command":"x"},"a":{"command":"y"}}}`, "a b", ""},
		{"VS Code", "// c\n{/* d */\"servers\":{\"a\":{\"command\":\"x//y\",\"args\":[\"/*\",],},},} // end", "a", ""},
		{"settings", `{"editor.x":1,"mcp":{"servers":{"a":{"url":"http://x"}}}}`, "a", ""},
		{"comma in a text", `{"mcpServers":{"a,}":{"command":"x,]"}}}`, "a,}", ""},
		{"none", `{"mcpServers":{}}`, "", ""},
		{"other", `{"servers2":{}}`, "", "neither mcpServers"},
		{"twice", `{"mcpServers":{"a":{"command":"x"},"a":{"command":"y"}}}`, "", "duplicate"},
		{"no command", `{"mcpServers":{"a":{}}}`, "", `server "a": it has neither a command nor a url`},
		{"env", `{"mcpServers":{"a":{"command":"x","env":{"A":[1]}}}}`, "", "env.A is no text"},
		{"cut", `{"mcpServers":{"a":{"command":"x`, "", "read /c.json"},
		{"open comment", `{"mcpServers":{} /* x`, "", "read /c.json"},
	} {
		f, err := Parse("/c.json", []byte(tt.content))
		if tt.problem != "" {
			if err == nil || !strings.Contains(err.Error(), tt.problem) {
				t.Errorf("%s: got %v, want %s", tt.name, err, tt.problem)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var names []string
		for _, s := range f.Servers {
			names = append(names, s.Name)
		}
		if strings.Join(names, " ") != tt.want {
			t.Errorf("%s: got %q", tt.name, names)
		}
	}
}

func TestAdd(t *testing.T) {
	t.Parallel()
	entries := []Entry{{Name: "new", Command: "cat"}}
	added := "  new:\n    command: \"cat\"\n"
	for _, tt := range []struct{ name, before, after, problem string }{
		{"empty", "", "servers:\n" + added, ""},
		{"comment", "# c\n", "# c\nservers:\n" + added, ""},
		{"no servers", "gateway: {name: x} # c", "gateway: {name: x} # c\n\nservers:\n" + added, ""},
		{"null", "servers:\n  # an example\ngateway: {}\n", "servers:\n" + added + "  # an example\ngateway: {}\n", ""},
		{"null at the end", "servers:", "servers:\n" + added, ""},
		{"empty flow", "servers: {} # c\n", "servers:  # c\n" + added, ""},
		{"others", "a: 1\nservers: # c\n  # of old\n  old: # d\n    command: x\n\n# e\nz: 1\n", "a: 1\nservers: # c\n" + added + "\n  # of old\n  old: # d\n    command: x\n\n# e\nz: 1\n", ""},
		{"indent", "servers:\n    old: {command: x}\n", "servers:\n    new:\n      command: \"cat\"\n\n    old: {command: x}\n", ""},
		{"taken", "servers:\n  a: {}\n  new: {command: x}\n", "", `there is a server "new" already, in line 3`},
		{"flow", "servers: {a: {command: x}}\n", "", "is not written in lines"},
		{"all flow", "{servers: {a: {command: x}}}\n", "", "is not written in lines"},
		{"text", "servers: x\n", "", "is not written in lines"},
		{"no YAML", "a: [\n", "", "not valid YAML"},
	} {
		got, err := Add([]byte(tt.before), entries)
		switch {
		case tt.problem != "":
			if err == nil || !strings.Contains(err.Error(), tt.problem) {
				t.Errorf("%s: got %v, want %s", tt.name, err, tt.problem)
			}
		case err != nil || string(got) != tt.after:
			t.Errorf("%s: got %v and\n%s\nwant\n%s", tt.name, err, got, tt.after)
		}
	}
}

func TestSnippet(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		client string
		target Target
		want   []string
		note   string
	}{
		{"claude-code", Target{}, []string{`"mcpServers"`, `"type": "http"`, `"url": "https://g/servers/a/mcp"`, `"Authorization": "Bearer ${MCP_GATEWAY_KEY}"`}, "set MCP_GATEWAY_KEY"},
		{"claude-code", Target{KeyEnv: "K"}, []string{`"Bearer ${K}"`}, "set K to"},
		{"claude-code", Target{Key: "mcpgw_x"}, []string{`"Bearer mcpgw_x"`}, "keep it from others"},
		{"cursor", Target{}, []string{`"Bearer ${env:MCP_GATEWAY_KEY}"`}, ".cursor/mcp.json"},
		{"vscode", Target{}, []string{`"servers"`, `"inputs"`, `"password": true`, `"Bearer ${input:mcp-gateway-key}"`}, "asks for the key"},
		{"vscode", Target{KeyEnv: "K"}, []string{`"Bearer ${env:K}"`}, "set K to"},
		{"claude-desktop", Target{}, []string{`"command": "npx"`, `"mcp-remote"`, `"Authorization:${MCP_GATEWAY_AUTHORIZATION}"`, `"Bearer PUT-THE-KEY-HERE"`}, "PUT-THE-KEY-HERE"},
		{"claude-desktop", Target{Key: "mcpgw_x", URL: "http://localhost:1"}, []string{`"--allow-http"`, `"Bearer mcpgw_x"`}, "keep it from others"},
	} {
		if tt.target.URL == "" {
			tt.target.URL = "https://g/"
		}
		tt.target.Servers = []string{"a"}
		text, notes, err := Snippet(tt.client, tt.target)
		for _, want := range tt.want {
			if err != nil || !strings.Contains(string(text), want) {
				t.Errorf("%s: got %v and %s, want %s", tt.client, err, text, want)
			}
		}
		if !strings.Contains(strings.Join(notes, "\n"), tt.note) {
			t.Errorf("%s: got notes %q, want %q", tt.client, notes, tt.note)
		}
		if f, err := Parse("/x.json", text); err != nil || len(f.Servers) != 1 {
			t.Errorf("%s: what it prints is read as %v, %v", tt.client, f, err)
		}
	}
	if _, _, err := Snippet("other", Target{Servers: []string{"a"}}); err == nil {
		t.Error("it knows every client")
	}
}

// Whatever a file holds, what is made of it is YAML with those servers, their commands and
// arguments.
func FuzzConvert(f *testing.F) {
	f.Add([]byte(`{"mcpServers":{"a":{"command":"npx","args":["-y","x: #\n\u202e${A}","$${B}"],"env":{"A":"b\"","K":"\u0000"}}}}`))
	f.Add([]byte("{\"servers\":{\"no\":{\"command\":\"\u2028\",\"cwd\":\"/\",\"envFile\":\"x\"}},}//"))
	f.Fuzz(func(t *testing.T, content []byte) {
		file, err := Parse("/nowhere/c.json", content)
		if err != nil {
			return
		}
		entries, _ := file.Convert(testHost("/s"))
		names := map[string]Entry{}
		for _, e := range entries {
			names[e.Name] = e
		}
		entries = slices.Collect(maps.Values(names)) // others are refused before
		var made struct {
			Servers map[string]struct {
				Command string
				Args    []string
			}
		}
		text := Document(entries)
		if err := yaml.Unmarshal([]byte(text), &made); err != nil || len(made.Servers) != len(entries) {
			t.Fatalf("%v\n%s", err, text)
		}
		for name, e := range names {
			if got := made.Servers[name]; got.Command != e.Command || !slices.Equal(got.Args, e.Args) {
				t.Fatalf("got %+v, want %+v of\n%s", got, e, text)
			}
		}
	})
}
