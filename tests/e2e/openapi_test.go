package e2e_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestOpenAPI has validators that nobody here wrote judge the document of real
// servers, of which some can't be started.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	if err := fetch("openapi"); err != nil {
		t.Fatal(err)
	}
	entries := []string{testserver("test"), entry("dead", "command: /bin/false")}
	for _, server := range npmServers {
		entries = append(entries, server.entry(owned(t, owner, "hello.txt", "hello")))
	}
	g := start(t, servers(entries...))
	document := g.shell(t, `curl -sS --fail-with-body -H "X-API-Key: $KEY" $GATEWAY/api/v1/openapi.json`)
	if n := strings.Count(document, `"operationId":`); n < 50 || !strings.Contains(document, `"everything__get-sum"`) {
		t.Errorf("got %d operations: %.3000s", n, document)
	}
	// Real servers have nothing that could not be described.
	if _, faults, _ := strings.Cut(document, `"x-mcpgateway-faults":`); strings.Count(faults, `"server":`) != 1 || !strings.Contains(faults, `"server":"dead"`) {
		t.Errorf("got faults %s", faults)
	}
	cmd := exec.Command("node", "openapi/validate.mjs")
	cmd.Stdin = strings.NewReader(document)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("validate: %v\n%.5000s", err, out)
	}
}
