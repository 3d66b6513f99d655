package e2e_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// shell runs a command line with the gateway's address and a key, and returns what
// it writes.
func (g *gateway) shell(t *testing.T, line string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GATEWAY=" + g.addresses.HTTP, "KEY=" + g.addresses.Key}
	var problems output
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%s: %v: %s%s", line, err, out, problems.String())
	}
	return string(out)
}

// TestRESTExamples runs every command of the documentation as it stands there.
func TestRESTExamples(t *testing.T) {
	t.Parallel()
	g := start(t, servers(npmServers[0].entry(owned(t, owner, "hello.txt", "hello"))))
	wants := []string{
		`"name":"everything"`, `"name":"everything__get-sum"`, `The sum of 40 and 2 is 42`, `Linz`, `"contents":[`,
		"event: progress\ndata: {", "404 application/problem+json", `"everything__get-sum"`,
	}
	for line := range strings.Lines(string(mustRead(t, "../../docs/rest.md"))) {
		line, isCommand := strings.CutPrefix(line, "    curl ")
		if !isCommand {
			continue
		}
		if len(wants) == 0 {
			t.Fatalf("nobody knows what is wanted of %s", line)
		}
		if got := g.shell(t, "curl "+line); !strings.Contains(got, wants[0]) {
			t.Errorf("%s: got %s, want %s", line, got, wants[0])
		}
		wants = wants[1:]
	}
	if len(wants) > 0 {
		t.Errorf("the documentation has no command that answers %q", wants)
	}
}

// TestREST asks with curl for what goes well and what does not.
func TestREST(t *testing.T) {
	t.Parallel()
	g := start(t, servers(testserver("good"), testserver("slow", "timeout: 500ms"),
		entry("dead", "command: /bin/false")))
	const show = `-sS -o /dev/null -w '%{http_code} %{content_type} %header{allow}'`
	const key = ` -H "X-API-Key: $KEY" `
	tests := []struct{ name, line, want string }{
		{"no key", "curl " + show + " $GATEWAY/api/v1/servers", "401 application/problem+json "},
		{"bearer", `curl ` + show + ` -H "Authorization: Bearer $KEY" $GATEWAY/api/v1/servers`, "200 application/json "},
		{"head", "curl -I " + show + key + "$GATEWAY/api/v1/servers/good/tools", "200 application/json "},
		{"wrong method", "curl -X DELETE " + show + key + "$GATEWAY/api/v1/servers", "405 application/problem+json GET, HEAD"},
		{"unknown path", "curl " + show + key + "$GATEWAY/api/v1/nothing", "404 application/problem+json "},
		{"unknown server", "curl " + show + key + "$GATEWAY/api/v1/servers/none", "404 application/problem+json "},
		{"unknown tool", "curl " + show + key + "--json '{}' $GATEWAY/api/v1/servers/good/tools/none", "404 application/problem+json "},
		{"form", "curl " + show + key + "-d a=b $GATEWAY/api/v1/servers/good/tools/echo", "415 application/problem+json "},
		{"no JSON", "curl " + show + key + "--json '{' $GATEWAY/api/v1/servers/good/tools/echo", "400 application/problem+json "},
		{"too large", "head -c 40000000 /dev/zero | curl " + show + key + "--json @- $GATEWAY/api/v1/servers/good/tools/echo", "413 application/problem+json "},
		{"dead server", "curl " + show + key + "$GATEWAY/api/v1/servers/dead/tools", "502 application/problem+json "},
		{"slow tool", "curl " + show + key + "--json '{\"seconds\":30}' $GATEWAY/api/v1/servers/slow/tools/sleep", "504 application/problem+json "},
		{"tool fails", "curl " + show + key + "--json '{\"path\":\"/nothing\"}' $GATEWAY/api/v1/servers/good/tools/read_file", "422 application/problem+json "},
		{"web page", "curl " + show + key + "-H 'Origin: https://evil.example' $GATEWAY/api/v1/servers", "403 application/problem+json "},
		{"exact numbers", "curl -sS" + key + "--json '{\"n\":9007199254740993}' $GATEWAY/api/v1/servers/good/tools/echo | grep -o 9007199254740993 | head -1", "9007199254740993\n"},
		{"progress", "curl -sS -N" + key + "-H 'Accept: text/event-stream' --json '{\"seconds\":0.1}' $GATEWAY/api/v1/servers/good/tools/sleep | grep -c '^event: '", "11\n"},
		{"server goes", "curl " + show + key + "--json '{}' $GATEWAY/api/v1/servers/good/tools/exit", "502 application/problem+json "},
		{"and comes again", "curl " + show + key + "--json '{}' $GATEWAY/api/v1/servers/good/tools/echo", "200 application/json "},
	}
	for _, test := range tests {
		if got := g.shell(t, test.line); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	var document struct {
		Paths  map[string]json.RawMessage
		Faults []struct{ Server, Detail string } `json:"x-mcpgateway-faults"`
	}
	text := g.shell(t, "curl -sS"+key+"$GATEWAY/api/v1/openapi.json")
	if err := json.Unmarshal([]byte(text), &document); err != nil || document.Paths["/servers/good/tools/echo"] == nil ||
		len(document.Faults) != 1 || document.Faults[0].Server != "dead" {
		t.Errorf("got %.2000s (%v)", text, err)
	}
}
