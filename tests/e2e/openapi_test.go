package e2e_test

import (
	"os/exec"
	"strings"
	"testing"

	"mcpgateway/tests/installation"
)

// TestOpenAPI has validators that nobody here wrote judge the document of real
// servers, of which some can't be started.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	if err := installation.NPM("openapi"); err != nil {
		t.Fatal(err)
	}
	entries := []string{testserver("test"), entry("dead", "command: /bin/false")}
	for _, server := range npmServers {
		entries = append(entries, server.entry(owned(t, owner, "hello.txt", "hello")))
	}
	g := start(t, servers(entries...))
	// On a busy host not all of them start within the time that the document waits;
	// they go on starting.
	var document string
	eventually(t, "all servers are described but the one that is dead", func() bool {
		document = g.shell(t, `curl -sS --fail-with-body -H "X-API-Key: $KEY" $GATEWAY/api/v1/openapi.json`)
		_, faults, _ := strings.Cut(document, `"x-mcpgateway-faults":`)
		return strings.Count(faults, `"server":`) == 1 && strings.Contains(faults, `"server":"dead"`)
	})
	if n := strings.Count(document, `"operationId":`); n < 150 || !strings.Contains(document, `"everything__get-sum"`) {
		t.Errorf("got %d operations: %.3000s", n, document)
	}
	cmd := exec.Command(built.node, "openapi/validate.mjs")
	cmd.Stdin = strings.NewReader(document)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("validate: %v\n%.5000s", err, out)
	}
}
