package secrets_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"mcpgateway/proxy/grpcfront/gatewaypb"
	"mcpgateway/tests/hostids"
)

const nobody = 65534

// secrets are a value from everywhere that one can come from, by the server's variable.
func newSecrets() map[string]string {
	return map[string]string{
		"FROM_ENV": rand.Text(), "FROM_FILE": rand.Text() + "/+\"\\é%", "FROM_CREDENTIAL": rand.Text(),
		"FROM_HELPER": rand.Text(), "FROM_VAULT": rand.Text(),
		"FROM_PARTS": rand.Text(), // within a text
		"OF_HELPER":  rand.Text(), // a helper's own
	}
}

// prepare puts the secrets where they are kept, and returns a configuration that
// refers to them, and the gateway's environment.
func prepare(t *testing.T, dir, canary string, secrets map[string]string) (config string, env []string) {
	t.Helper()
	first, release, err := hostids.Claim()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	put := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := os.Mkdir(filepath.Join(dir, "credentials"), 0o700); err != nil {
		t.Fatal(err)
	}
	put("credentials/token", secrets["FROM_CREDENTIAL"]+"\n", 0o400)
	put("credentials/vault", secrets["OF_HELPER"], 0o400)
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/secret/data/alpha" || r.Header.Get("X-Vault-Token") != secrets["OF_HELPER"] {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"data": map[string]string{"key": secrets["FROM_VAULT"]}}})
	}))
	t.Cleanup(vault.Close)
	// A helper's files are for the helper's user.
	answer := put("answer", secrets["FROM_HELPER"], 0o400)
	if err := os.Chown(answer, 1, 1); err != nil {
		t.Fatal(err)
	}
	helper := put("helper", "#!/bin/sh\necho \"asked for $1, knowing $OWN\" >&2\ncat "+answer+"\n", 0o755)
	policies := put("policies.yaml", `roles:
  caller:
    permissions:
      - actions: ["*"]
      - {effect: deny, actions: [tools/call], tools: [tell], when: 'has(args.how) && args.how == "denied"'}
bindings:
  - {role: caller, users: ["*"]}
`, 0o600)
	return fmt.Sprintf(`gateway: {name: %q, max_servers: 10}
security: {authorization: {type: rbac, policy_file: %q}, tool_pins: {mode: report}}
audit: {enabled: true, file: %q, arguments: [{server: holder}]}
sandbox: {uid_pool: {start: %d, count: %d}}
transports: {websocket: {enabled: true}, sse: {enabled: true}, grpc: {enabled: true}}
secrets:
  refresh: 1s
  helpers:
    plain: {command: %q, env: {OWN: "${credential:vault}"}, user: daemon}
    vault: {command: %q, env: {VAULT_ADDR: %q, VAULT_TOKEN: "${credential:vault}"}, user: daemon}
servers:
  holder:
    command: /srv/t/testserver
    mounts: [%q]
    env:
      FROM_ENV: "${env:S_ENV}"
      FROM_FILE: "${file:%s}"
      FROM_CREDENTIAL: "${credential:token}"
      FROM_HELPER: "${exec:plain:x}"
      FROM_VAULT: "${exec:vault:secret/alpha#key}"
      FROM_PARTS: "postgres://app:${S_PARTS}@db"
`, canary, policies, filepath.Join(dir, "log", "audit.log"), first, hostids.Ranges, helper, top+"/bin/mcp-gateway-vault", vault.URL, top+"/programs:/srv/t",
			put("file", secrets["FROM_FILE"]+"\n", 0o600)),
		[]string{"S_ENV=" + secrets["FROM_ENV"], "S_PARTS=" + secrets["FROM_PARTS"], "CREDENTIALS_DIRECTORY=" + filepath.Join(dir, "credentials")}
}

func TestNoSecretAnywhere(t *testing.T) {
	dir, canary := folder(t), "canary-"+rand.Text()
	secrets := newSecrets()
	config, env := prepare(t, dir, canary, secrets)
	g := start(t, dir, config, env...)
	needles := slices.Sorted(maps.Values(secrets))
	proxy, daemon := g.pid(t, "mcp-gateway-proxy"), g.pid(t, "mcp-gatewayd")
	if found := inMemory(t, proxy, needles); sum(found) > 0 {
		t.Fatalf("the proxy's memory has secrets that nobody told it: %v", found)
	}

	places := g.askEverywhere(t)
	maps.Copy(places, g.deny(t))
	maps.Copy(places, g.operator(t))
	config = filepath.Join(dir, "c.yaml")
	places["policy explain"] = fmt.Sprint(combined(exec.Command(top+"/bin/mcp-gateway", "policy", "explain", "--config", config, "--as", "ana", "--server", "holder", "--tool", "tell", "--args", tell("denied"))))
	if !strings.HasPrefix(places["policy explain"], "deny: ") {
		t.Errorf("policy explain: got %s", places["policy explain"])
	}
	places["tools list"] = g.cli("tools", "list", "--config", config)
	places["audit verify"] = g.cli("audit", "verify")
	places["the audit files"] = auditText(t, filepath.Join(dir, "log"))
	places["ps"] = g.cli("ps")
	places["reload"] = g.cli("reload")
	places["check"] = fmt.Sprint(combined(exec.Command(top+"/bin/mcp-gateway", "check", config)))
	places["a file of the state folder"] = folderText(t, g.state)
	server := g.server(t)

	if len(secrets["FROM_HELPER"]) == 0 || !strings.Contains(g.log.String(), "helper wrote to its standard error") {
		t.Error("the log has nothing of the helper's standard error")
	}
	eventually(t, "the log has all of the server's standard error", func() bool { return strings.Contains(g.log.String(), "suppressed=") })
	places["the log"] = g.log.String()
	for place, text := range places {
		for variable, secret := range secrets {
			for _, way := range written(secret) {
				if strings.Contains(text, way) {
					t.Errorf("%s has %s, as %q: %.1500q", place, variable, way, text)
				}
			}
		}
	}
	for _, place := range []string{"session result", "session error", "session log", "REST", "gRPC", "WebSocket", "SSE", "stateless"} {
		if !strings.Contains(places[place], "[redacted]") {
			t.Errorf("%s has nothing that was taken out: %.1500q", place, places[place])
		}
	}

	// In memory and in /proc; and a canary in each, to see that the search finds.
	sleeper := exec.Command("/bin/sleep", "1000")
	sleeper.Args[0] = canary
	sleeper.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sleeper.Process.Kill(); _ = sleeper.Wait() }()
	found, files := searchAs(t, nobody, append(slices.Clone(needles), canary))
	bites := false
	for _, hit := range found {
		if strings.HasPrefix(hit, fmt.Sprintf("%d ", len(needles))) {
			bites = true
			continue
		}
		t.Errorf("the proxy's user can read a secret: %s", hit)
	}
	if !bites || files < 100 {
		t.Errorf("the search of %d files did not find the canary", files)
	}
	if inProxy := inMemory(t, proxy, append(slices.Clone(needles), canary)); inProxy[canary] == 0 || sum(inProxy) > inProxy[canary] {
		t.Errorf("the proxy's memory: got %v, want the canary %q and nothing else", inProxy, canary)
	}
	ofServer := inMemory(t, server, needles)
	for variable, secret := range secrets {
		if variable != "OF_HELPER" && ofServer[secret] == 0 {
			t.Errorf("the server's memory has no %s: the search does not bite", variable)
		}
	}
	if sum(inMemory(t, daemon, needles)) == 0 {
		t.Error("the daemon's memory has no secret: the search does not bite")
	}
	limits, _ := os.ReadFile(fmt.Sprintf("/proc/%d/limits", daemon))
	if !bytes.Contains(limits, []byte("Max core file size        0                    0")) {
		t.Errorf("the daemon may leave a core dump: %s", limits)
	}
}

// TestRotation changes a secret where it is kept: the server gets a new one, and
// nobody is told either.
func TestRotation(t *testing.T) {
	dir := folder(t)
	secrets := newSecrets()
	config, env := prepare(t, dir, "x", secrets)
	g := start(t, dir, strings.Replace(config, "command: /srv/t/testserver\n", "command: /srv/t/testserver\n    redact: false\n", 1), env...)
	has := func(secret string) bool { return strings.Contains(g.rest(t, "env", "{}"), secret) }
	if !has(secrets["FROM_HELPER"]) || !has(secrets["FROM_CREDENTIAL"]) {
		t.Fatal("without redaction the server can't show what it has: the test does not bite")
	}
	next := rand.Text()
	if err := os.WriteFile(filepath.Join(dir, "answer"), []byte(next), 0o400); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server has the new secret", func() bool { return has(next) })
	if log := g.log.String(); strings.Contains(log, next) || strings.Contains(log, secrets["FROM_HELPER"]) {
		t.Error("the log has the secret")
	}
}

func sum(counts map[string]int) (n int) {
	for _, count := range counts {
		n += count
	}
	return n
}

func combined(cmd *exec.Cmd) string {
	out, err := cmd.CombinedOutput()
	return fmt.Sprintf("%s %v", out, err)
}

func folderText(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			content, err := os.ReadFile(path)
			all.WriteString(path + ": " + string(content) + "\n")
			return err
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// auditText is the audit log when it has all that it should have.
func auditText(t *testing.T, dir string) (text string) {
	t.Helper()
	eventually(t, "the audit log has all calls", func() bool {
		text = folderText(t, dir)
		for _, want := range []string{`"event":"call"`, `"event":"denied"`, `"name":"tell"`, `"arguments":{"names":`, `"transport":"grpc"`, `"event":"sandbox-started"`, `"event":"configuration-applied"`} {
			if !strings.Contains(text, want) {
				return false
			}
		}
		return true
	})
	return text
}

// server is the process id of the newest instance's program.
func (g *gateway) server(t *testing.T) (pid int) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(g.cli("ps")), "\n")
	for _, line := range lines[1:] {
		var id, project, name string
		var launcher int
		if _, err := fmt.Sscan(line, &id, &project, &name, &launcher); err != nil {
			continue
		}
		children, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", launcher))
		for _, path := range children {
			content, _ := os.ReadFile(path)
			if _, err := fmt.Sscan(string(content), &pid); err == nil {
				return pid
			}
		}
	}
	t.Fatalf("no server runs: %s", lines)
	return 0
}

const initialize = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"sampling":{}},"clientInfo":{"name":"t","version":"1"}}}`

func tell(how string) string {
	return fmt.Sprintf(`{"names":["FROM_ENV","FROM_FILE","FROM_CREDENTIAL","FROM_HELPER","FROM_VAULT","FROM_PARTS"],"how":%q}`, how)
}

func call(id int, how string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"tell","arguments":%s,"_meta":{"progressToken":"p%[1]d"}}}`, id, tell(how))
}

// statelessCall is call in the other era.
func statelessCall(how string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"tell","arguments":` + tell(how) + `,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"}}}}`
}

// askEverywhere has the server tell its secrets over every transport, and returns what
// came back.
func (g *gateway) askEverywhere(t *testing.T) map[string]string {
	t.Helper()
	places := map[string]string{}
	mcp := g.addresses.HTTP + "/servers/holder/mcp"
	opened, headers := g.post(t, mcp, initialize)
	session := headers.Get("Mcp-Session-Id")
	places["initialize"] = opened
	g.post(t, mcp, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, "Mcp-Session-Id", session)
	for i, how := range []string{"result", "error", "log", "stderr", "garbage", "progress"} {
		places["session "+how], _ = g.post(t, mcp, call(i+1, how), "Mcp-Session-Id", session)
	}
	places["stateless"], _ = g.post(t, mcp, statelessCall("result"),
		"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "tell")
	places["REST"] = g.rest(t, "tell", tell("result"))
	places["REST error"] = g.rest(t, "tell", tell("error"))
	places["OpenAPI"] = g.get(t, g.addresses.HTTP+"/api/v1/openapi.json")
	places["gRPC"] = g.overGRPC(t)
	places["WebSocket"] = g.overWebSocket(t)
	places["SSE"] = g.overSSE(t)
	return places
}

// deny has the rules refuse calls, and returns what callers are told of it.
func (g *gateway) deny(t *testing.T) map[string]string {
	t.Helper()
	stateless, _ := g.post(t, g.addresses.HTTP+"/servers/holder/mcp", statelessCall("denied"),
		"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "tell")
	denied := map[string]string{"a denial by REST": g.rest(t, "tell", tell("denied")), "a denial": stateless}
	for place, text := range denied {
		if !strings.HasPrefix(text, "403 ") {
			t.Errorf("%s: got %.500q", place, text)
		}
	}
	return denied
}

// operator is what the operator's socket answers.
func (g *gateway) operator(t *testing.T) map[string]string {
	t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(g.state, "operator.sock"))
	}}}
	answers := map[string]string{}
	for _, path := range []string{"/servers", "/tools?server=holder", "/instances"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://operator"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(content), "holder") && path != "/instances" {
			t.Errorf("operator %s: got %s, %.500q, %v", path, response.Status, content, err)
		}
		answers["operator "+path] = string(content)
	}
	return answers
}

func (g *gateway) post(t *testing.T, url, body string, headers ...string) (string, http.Header) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	method := http.MethodPost
	if body == "" {
		method = http.MethodGet
	}
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+g.addresses.Key)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(response.Status, response.Header, string(content)), response.Header
}

func (g *gateway) get(t *testing.T, url string) string {
	t.Helper()
	text, _ := g.post(t, url, "", "Accept", "application/json")
	return text
}

func (g *gateway) rest(t *testing.T, tool, arguments string) string {
	t.Helper()
	text, _ := g.post(t, g.addresses.HTTP+"/api/v1/servers/holder/tools/"+tool, arguments, "Accept", "application/json")
	return text
}

func (g *gateway) overGRPC(t *testing.T) string {
	t.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(g.addresses.GRPC, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+g.addresses.Key)
	answer, err := gatewaypb.NewGatewayClient(conn).Call(ctx, &gatewaypb.CallRequest{
		Scope: &gatewaypb.Scope{To: &gatewaypb.Scope_Server{Server: "holder"}}, Method: "tools/call", ParamsJson: `{"name":"tell","arguments":` + tell("result") + `}`,
	})
	return fmt.Sprint(answer.GetResultJson(), err)
}

func (g *gateway) overWebSocket(t *testing.T) string {
	t.Helper()
	address := "ws" + strings.TrimPrefix(g.addresses.WebSocket, "http")
	if g.addresses.WebSocket == "" {
		address = "ws" + strings.TrimPrefix(g.addresses.HTTP, "http")
	}
	address = strings.Replace(address, "wsws", "ws", 1)
	//nolint:bodyclose // it never needs to be (websocket.Dial)
	conn, _, err := websocket.Dial(t.Context(), address+"/servers/holder/ws", &websocket.DialOptions{
		Subprotocols: []string{"mcp"}, HTTPHeader: http.Header{"Authorization": {"Bearer " + g.addresses.Key}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(64 << 20)
	var all strings.Builder
	exchange := func(message string, until string) {
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(message)); err != nil {
			t.Fatal(err)
		}
		for until != "" {
			_, content, err := conn.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			all.Write(content)
			if strings.Contains(string(content), until) {
				return
			}
		}
	}
	exchange(initialize, `"id":0`)
	exchange(`{"jsonrpc":"2.0","method":"notifications/initialized"}`, "")
	exchange(call(1, "result"), `"id":1`)
	exchange(call(2, "log"), `"id":2`)
	exchange(call(3, "request"), `sampling/createMessage`)
	return all.String()
}

func (g *gateway) overSSE(t *testing.T) string {
	t.Helper()
	base := g.addresses.SSE
	if base == "" {
		base = g.addresses.HTTP
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/servers/holder/sse", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+g.addresses.Key)
	request.Header.Set("Accept", "text/event-stream")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var all strings.Builder
	buffer := make([]byte, 64<<10)
	await := func(text string) {
		for !strings.Contains(all.String(), text) {
			n, err := response.Body.Read(buffer)
			all.Write(buffer[:n])
			if err != nil {
				t.Fatalf("%v after %s", err, all.String())
			}
		}
	}
	await("\n\n")
	_, endpoint, _ := strings.Cut(all.String(), "data: ")
	endpoint, _, _ = strings.Cut(endpoint, "\n")
	endpoint = base + strings.TrimSpace(endpoint)
	g.post(t, endpoint, initialize)
	await(`"id":0`)
	g.post(t, endpoint, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	g.post(t, endpoint, call(1, "result"))
	await(`"id":1`)
	return all.String()
}
