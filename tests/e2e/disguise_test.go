package e2e_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const oneTool = `
roles:
  echo: {permissions: [{actions: ["*"], tools: [echo]}]}
bindings:
  - {role: echo, users: ["*"]}
`

// The test server is one of those that don't mind the case of a name. Whatever a request
// is dressed up as, its server does nothing that the rules have not been asked about.
func TestDisguisedRequests(t *testing.T) {
	t.Parallel()
	var records string
	g := startPrepared(t, func(g *gateway) {
		records = filepath.Join(g.dir, "log", "audit.log")
		rules := filepath.Join(g.dir, "policies.yaml")
		if err := os.WriteFile(rules, []byte(oneTool), 0o600); err != nil {
			t.Fatal(err)
		}
		g.writeConfig(t, g.pool()+servers(testserver("files"))+
			fmt.Sprintf("security: {authorization: {type: rbac, policy_file: %q}}\naudit: {enabled: true, file: %q, sync: never}\n", rules, records))
	})
	s := g.open(t, "files")
	if a := s.call(t, "echo", `{"a":1}`); a.status != http.StatusOK || !bytes.Contains(a.message, []byte(`\"a\":1`)) {
		t.Fatalf("what is permitted: got %d, %s", a.status, a.message)
	}
	for _, body := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"env","arguments":{}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools\/call","params":{"n\u0061me":"\u0065nv","arguments":{}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":["env"]}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"NAME":"env","arguments":{}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","Name":"env","arguments":{}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"},"Params":{"name":"env"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"ping","METHOD":"tools/call","params":{"name":"env","arguments":{}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","param\u017f":{"name":"env","arguments":{}}}`,
		`{"jsonrpc":"2.0","method":"tools/call","params":{"name":"env","arguments":{}}}`,
		`{"jsonrpc":"2.0","ID":1,"method":"tools/call","params":{"name":"env","arguments":{}}}`,
		`{"jsonrpc":"2.0","id":1,"result":{},"METHOD":"tools/call","Params":{"name":"env"}}`,
	} {
		if a := s.post(t, body); a.status != http.StatusForbidden {
			t.Errorf("%s: got status %d: %s", body, a.status, a.message)
		}
	}
	for _, body := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"env"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","name":"env"}}`,
		`[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"env"}}]`,
	} {
		if a := s.post(t, body); a.status != http.StatusBadRequest {
			t.Errorf("%s: got status %d: %s", body, a.status, a.message)
		}
	}
	eventually(t, "each refusal is in the audit log", func() bool {
		return strings.Count(string(mustRead(t, records)), `"event":"denied"`) >= 11
	})
	if list := s.post(t, `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`); bytes.Contains(list.message, []byte(`"env"`)) || !bytes.Contains(list.message, []byte(`"echo"`)) {
		t.Errorf("the list has what may not be used, or not what may be: %s", list.message)
	}
}
