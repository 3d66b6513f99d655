package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mcpgateway/proxy/grpcfront/gatewaypb"
)

const rulesText = `version: "1.0"
roles:
  reader:
    permissions:
      - {actions: [tools/call], servers: [good], tools: [echo, env, counters], when: '!has(args.path) || args.path.startsWith("/ok/") && identity.key == "reader"'}
      - {actions: [tools/call], servers: [many], tools: [test_simple_text, "%s*"]}
      - {actions: [resources/read], servers: [many], resources: ["test://static-text", "test://template/7/*"]}
      - {actions: [prompts/get], servers: [many], prompts: [test_simple_prompt]}
      - {effect: deny, actions: ["*"], tools: [env]}
  all:
    permissions:
      - {actions: ["*"]}
      - {effect: deny, actions: [tools/call], tools: [env]}
  tasks:
    extends: [reader]
    permissions:
      - {actions: [tasks/get], servers: [many]}
  long:
    permissions:
      - {actions: [tools/call], servers: ["llll*"], tools: [counters]}
bindings:
  - {role: long, keys: [long]}
  - {role: reader, keys: [reader]}
  - {role: all, keys: [all]}
  - {role: tasks, keys: [tasks]}
`

// longName makes what is merged from its server too long for the names of tools.
var longName = strings.Repeat("l", 60)

// ruled is a gateway with rules, an audit log and every transport, and its clients by
// the names of their keys.
type ruled struct {
	*gateway
	policy, log string
	clients     map[string]asker
}

func startRuled(t *testing.T) *ruled {
	t.Helper()
	r := &ruled{clients: map[string]asker{}}
	r.gateway = startPrepared(t, func(g *gateway) {
		r.policy, r.log = filepath.Join(g.dir, "policies.yaml"), filepath.Join(g.dir, "audit.log")
		if err := os.WriteFile(r.policy, fmt.Appendf(nil, rulesText, "nothing"), 0o600); err != nil {
			t.Fatal(err)
		}
		g.writeConfig(t, g.pool()+audited(g.dir)+fmt.Sprintf("security: {authorization: {type: rbac, policy_file: %q}}\n", r.policy)+
			"transports: {grpc: {enabled: true}, websocket: {enabled: true}, sse: {enabled: true}}\nprojects: {x: {}}\n"+
			servers(testserver("good"), testserver(longName), entry("many", "project: x", "command: /srv/e2e/everything-server", fmt.Sprintf("mounts: [%q]", built.programs+":/srv/e2e"), "instances: shared")))
	})
	for _, name := range []string{"reader", "all", "tasks", "long", "nobody"} {
		r.clients[name] = asker{r.gateway, r.cli(t, "key", "create", name)}
	}
	return r
}

// listed are the names, or the URIs, in the array of a list's result.
func namesIn(t *testing.T, text, array, member string) (names []string) {
	t.Helper()
	var result map[string]json.RawMessage
	var items []map[string]any
	if err := json.Unmarshal([]byte(text), &result); err != nil {
		t.Fatalf("%v: %.500s", err, text)
	}
	if err := json.Unmarshal(result[array], &items); err != nil {
		t.Fatalf("%v: %.500s", err, text)
	}
	for _, item := range items {
		name, _ := item[member].(string)
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// TestRules has callers with different roles list and use what there is, in every way.
func TestRules(t *testing.T) {
	t.Parallel()
	g := startRuled(t)
	t.Run("lists", func(t *testing.T) { g.lists(t) })
	t.Run("calls", func(t *testing.T) { g.calls(t) })
	t.Run("rest", func(t *testing.T) { g.overREST(t) })
	t.Run("merged names", func(t *testing.T) { g.mergedNames(t) })
	t.Run("explain", func(t *testing.T) { g.explains(t) })
	t.Run("reload", func(t *testing.T) { g.reloads(t) })
}

func (g *ruled) lists(t *testing.T) {
	reader := g.clients["reader"]
	tests := []struct{ at, method, array, member, want string }{
		{"/servers/good", "tools/list", "tools", "name", "counters echo"},
		{"/servers/many", "tools/list", "tools", "name", "test_simple_text"},
		{"/servers/many", "resources/list", "resources", "uri", "test://static-text"},
		{"/servers/many", "resources/templates/list", "resourceTemplates", "uriTemplate", "test://template/{id}/data"},
		{"/servers/many", "prompts/list", "prompts", "name", "test_simple_prompt"},
		{"", "tools/list", "tools", "name", "good__counters good__echo many__test_simple_text"},
		{"", "prompts/list", "prompts", "name", "many__test_simple_prompt"},
		{"/projects/x", "tools/list", "tools", "name", "many__test_simple_text"},
	}
	for _, tt := range tests {
		for name, ask := range reader.ways() {
			got := ask(t, tt.at, tt.method, "")
			if got.kind != "ok" {
				t.Errorf("%s %s by %s: got %s %s", tt.at, tt.method, name, got.kind, got.text)
				continue
			}
			if names := strings.Join(namesIn(t, got.text, tt.array, tt.member), " "); names != tt.want {
				t.Errorf("%s %s by %s: got %s, want %s", tt.at, tt.method, name, names, tt.want)
			}
		}
	}
	if got := g.clients["all"].http(t, "/servers/many", "tools/list", ""); len(namesIn(t, got.text, "tools", "name")) < 20 {
		t.Errorf("who may use all sees %s", got.text)
	}
	rpc, ctx := reader.dial(t)
	discovered, err := rpc.Discover(ctx, &gatewaypb.DiscoverRequest{})
	if err != nil || strings.Join(discovered.GetServers(), " ") != "good many" {
		t.Errorf("discover: got %v, %v", discovered.GetServers(), err)
	}
	for name, ask := range g.clients["nobody"].ways() {
		if got := ask(t, "/servers/good", "tools/list", ""); got.kind != "404" && got.kind != "NotFound" {
			t.Errorf("who may use nothing, by %s: got %s %s", name, got.kind, got.text)
		}
	}
}

func (g *ruled) calls(t *testing.T) {
	tests := []struct {
		name, who, at, method, params string
		allowed                       bool
	}{
		{"a tool", "reader", "/servers/good", "tools/call", `"name":"echo","arguments":{}`, true},
		{"argument", "reader", "/servers/good", "tools/call", `"name":"echo","arguments":{"path":"/ok/x"}`, true},
		{"other argument", "reader", "/servers/good", "tools/call", `"name":"echo","arguments":{"path":"/no"}`, false},
		{"argument, other identity", "tasks", "/servers/good", "tools/call", `"name":"echo","arguments":{"path":"/ok/x"}`, false},
		{"argument of another type", "reader", "/servers/good", "tools/call", `"name":"echo","arguments":{"path":7}`, false},
		{"arguments that are none", "reader", "/servers/good", "tools/call", `"name":"echo","arguments":[1]`, false},
		{"not named", "reader", "/servers/good", "tools/call", `"name":"status","arguments":{}`, false},
		{"denied and allowed", "reader", "/servers/good", "tools/call", `"name":"env","arguments":{}`, false},
		{"denied, by who may do all", "all", "/servers/good", "tools/call", `"name":"env","arguments":{}`, false},
		{"does not exist", "reader", "/servers/good", "tools/call", `"name":"none","arguments":{}`, false},
		{"merged", "reader", "", "tools/call", `"name":"good__echo","arguments":{}`, true},
		{"merged, denied", "all", "", "tools/call", `"name":"good__env","arguments":{}`, false},
		{"project", "reader", "/projects/x", "tools/call", `"name":"many__test_simple_text","arguments":{}`, true},
		{"a resource", "reader", "/servers/many", "resources/read", `"uri":"test://static-text"`, true},
		{"another", "reader", "/servers/many", "resources/read", `"uri":"test://static-binary"`, false},
		{"not in its normal form", "reader", "/servers/many", "resources/read", `"uri":"test://template/7/../8/data"`, false},
		{"of a template", "reader", "/servers/many", "resources/read", `"uri":"test://template/7/data"`, true},
		{"a prompt", "reader", "/servers/many", "prompts/get", `"name":"test_simple_prompt"`, true},
		{"another prompt", "reader", "/servers/many", "prompts/get", `"name":"test_prompt_with_image"`, false},
		{"complete a prompt", "reader", "/servers/many", "completion/complete", `"ref":{"type":"ref/prompt","name":"test_simple_prompt"},"argument":{"name":"a","value":"b"}`, true},
		{"complete another", "reader", "/servers/many", "completion/complete", `"ref":{"type":"ref/prompt","name":"test_prompt_with_arguments"},"argument":{"name":"arg1","value":"b"}`, false},
		{"complete a template", "reader", "/servers/many", "completion/complete", `"ref":{"type":"ref/resource","uri":"test://template/{id}/data"},"argument":{"name":"id","value":"7"}`, true},
		{"complete nothing", "reader", "/servers/many", "completion/complete", `"argument":{"name":"id","value":"7"}`, false},
	}
	denied := map[string]string{"http": "403", "websocket": "error", "grpc": "PermissionDenied"}
	for _, tt := range tests {
		for name, ask := range g.clients[tt.who].ways() {
			got := ask(t, tt.at, tt.method, tt.params)
			want := "ok"
			if !tt.allowed {
				want = denied[name]
			}
			if name == "session" { // one with its own process is judged at once, one over others in the answer
				if tt.allowed != (got.kind == "ok") || !tt.allowed && got.kind != "403" && got.kind != "error" {
					t.Errorf("%s by %s: got %s %s", tt.name, name, got.kind, got.text)
				}
			} else if got.kind != want && (!tt.allowed || tt.method != "completion/complete") {
				t.Errorf("%s by %s: got %s %s, want %s", tt.name, name, got.kind, got.text, want)
			}
			if !tt.allowed && !strings.Contains(got.text, "is not permitted to") && !strings.Contains(got.text, "unknown") {
				t.Errorf("%s by %s: got %s, want that it is not permitted", tt.name, name, got.text)
			}
		}
	}
	all, reader, tasks := g.clients["all"], g.clients["reader"], g.clients["tasks"]
	const task = `"taskId":"1"`
	for _, tt := range []struct {
		name, want string
		ask        fate
	}{
		{"an unknown method, unnamed", "not permitted", reader.http(t, "/servers/many", "tasks/get", task)},
		{"named", "", tasks.http(t, "/servers/many", "tasks/get", task)},
		{"named, and another", "not permitted", tasks.http(t, "/servers/many", "tasks/cancel", task)},
		{"all are allowed", "", all.http(t, "/servers/many", "tasks/cancel", task)},
		{"subscribe", "", reader.session(t, "/servers/many", "resources/subscribe", `"uri":"test://static-text"`)},
		{"subscribe to another", "not permitted", reader.session(t, "/servers/many", "resources/subscribe", `"uri":"test://watched-resource"`)},
		{"listen to another", "not permitted", reader.http(t, "/servers/many", "subscriptions/listen", `"notifications":{"resourceSubscriptions":["test://static-text","test://watched-resource"]}`)},
	} {
		if has := strings.Contains(tt.ask.text, "not permitted"); has != (tt.want != "") {
			t.Errorf("%s: got %s %s", tt.name, tt.ask.kind, tt.ask.text)
		}
	}
}

func (g *ruled) overREST(t *testing.T) {
	reader := g.clients["reader"]
	for path, want := range map[string]string{
		"/servers/good/tools":              `counters echo`,
		"/tools":                           `good__counters good__echo many__test_simple_text`,
		"/projects/x/tools":                `many__test_simple_text`,
		"/servers/many/prompts":            `test_simple_prompt`,
		"/servers/many/resources":          `test://static-text`,
		"/servers/many/resource-templates": `test://template/{id}/data`,
	} {
		got := reader.rest(t, path, "")
		array, member := filepath.Base(path), "name"
		switch array {
		case "resources":
			member = "uri"
		case "resource-templates":
			array, member = "resourceTemplates", "uriTemplate"
		}
		if names := strings.Join(namesIn(t, got.text, array, member), " "); got.kind != "ok" || names != want {
			t.Errorf("%s: got %s %s, want %s", path, got.kind, names, want)
		}
	}
	if got := reader.rest(t, "/openapi.json", ""); strings.Contains(got.text, "/tools/env") || strings.Contains(got.text, "test_image_content") || !strings.Contains(got.text, "/servers/good/tools/echo") {
		t.Errorf("openapi: got %.3000s", got.text)
	}
	if got := g.clients["nobody"].rest(t, "/servers", ""); strings.Contains(got.text, "good") {
		t.Errorf("servers of who may use nothing: got %s", got.text)
	}
	if got := reader.rest(t, "/servers/good/tools/echo", `{"path":"/ok/1"}`); got.kind != "ok" {
		t.Errorf("a tool: got %s %s", got.kind, got.text)
	}
	if got := reader.rest(t, "/servers/good/tools/echo", `{"path":"/no"}`); got.kind != "403" || !strings.Contains(got.text, `"title"`) || !strings.HasPrefix(got.header.Get("Content-Type"), "application/problem+json") {
		t.Errorf("a tool beside the rules: got %s %s", got.kind, got.text)
	}
	if got := reader.rest(t, "/servers/good/tools/env", `{}`); got.kind != "403" && got.kind != "404" {
		t.Errorf("a tool that is denied: got %s %s", got.kind, got.text)
	}
	if got := reader.rest(t, "/servers/many/resources/read?uri=test%3A%2F%2Fstatic-binary", ""); got.kind != "403" && got.kind != "404" {
		t.Errorf("a resource that is denied: got %s %s", got.kind, got.text)
	}
}

// mergedNames has the names of a merged list judged as the server's own.
func (g *ruled) mergedNames(t *testing.T) {
	all := g.clients["all"]
	names := namesIn(t, all.http(t, "", "tools/list", "").text, "tools", "name")
	if slices.Contains(names, "good__env") || !slices.Contains(names, "good__status") {
		t.Errorf("got %v", names)
	}
	long := g.clients["long"]
	own := namesIn(t, long.http(t, "", "tools/list", "").text, "tools", "name")
	if len(own) != 1 || len(own[0]) > 64 || !slices.Contains(names, own[0]) {
		t.Fatalf("of a server with a long name: got %v", own)
	}
	if got := long.http(t, "", "tools/call", fmt.Sprintf(`"name":%q,"arguments":{}`, own[0])); got.kind != "ok" {
		t.Errorf("%s: got %s %s", own[0], got.kind, got.text)
	}
	shortened := 0
	for _, name := range names {
		if !strings.HasPrefix(name, "lll") || name == own[0] {
			continue
		}
		shortened++
		if got := long.http(t, "", "tools/call", fmt.Sprintf(`"name":%q,"arguments":{}`, name)); got.kind == "ok" || !strings.Contains(got.text, "permitted") && !strings.Contains(got.text, "unknown") {
			t.Errorf("%s, by who may not: got %s %s", name, got.kind, got.text)
		}
		if shortened == 3 {
			break
		}
	}
	if shortened == 0 {
		t.Errorf("got no shortened name in %v", names)
	}
	for _, name := range []string{"good__env", "env", "good__good__env", "good____env"} {
		if got := all.http(t, "", "tools/call", fmt.Sprintf(`"name":%q,"arguments":{}`, name)); got.kind == "ok" && !strings.Contains(got.text, "isError") {
			t.Errorf("%s: got %s %s", name, got.kind, got.text)
		}
	}
}

// explains has the CLI say of each call what the gateway did, and by which rule.
func (g *ruled) explains(t *testing.T) {
	explain := func(who string, args ...string) (out string, status int) {
		cmd := exec.Command(filepath.Join(built.bin, "mcp-gateway"), append([]string{"policy", "explain", "--config", g.config(), "--key", who}, args...)...)
		content, _ := cmd.CombinedOutput()
		return string(content), cmd.ProcessState.ExitCode()
	}
	tests := []struct{ who, server, method, flag, name, args string }{
		{"reader", "good", "tools/call", "tool", "echo", `{"n":1}`},
		{"reader", "good", "tools/call", "tool", "echo", `{"path":"/ok/z"}`},
		{"reader", "good", "tools/call", "tool", "echo", `{"path":"/other"}`},
		{"reader", "good", "tools/call", "tool", "env", `{}`},
		{"all", "good", "tools/call", "tool", "env", `{}`},
		{"all", "good", "tools/call", "tool", "status", `{}`},
		{"reader", "many", "prompts/get", "prompt", "test_simple_prompt", `{}`},
		{"reader", "many", "prompts/get", "prompt", "test_prompt_with_image", `{}`},
		{"reader", "many", "resources/read", "resource", "test://static-binary", `{}`},
	}
	var table strings.Builder
	fmt.Fprintf(&table, "config: %q\ntests:\n", g.config())
	for _, tt := range tests {
		member := "name"
		if tt.flag == "resource" {
			member = "uri"
		}
		did := g.clients[tt.who].http(t, "/servers/"+tt.server, tt.method, fmt.Sprintf(`%q:%q,"arguments":%s`, member, tt.name, tt.args))
		var found []record
		eventually(t, "the call is in the audit log", func() bool {
			found = records(t, g.log, func(r record) bool { return r.Correlation == did.correlation })
			return len(found) > 0
		})
		out, status := explain(tt.who, "--server", tt.server, "--"+tt.flag, tt.name, "--args", tt.args)
		allowed := did.kind == "ok"
		first, _, _ := strings.Cut(out, "\n")
		_, rule, _ := strings.Cut(strings.ReplaceAll(first, g.dir+"/", ""), ": ") // the proxy knows no path
		if len(found) != 1 || (status == 0) != allowed || found[0].Rule != rule || (found[0].Decision == "allow") != allowed || rule == "" {
			t.Errorf("%+v: got %s, records %+v, explained by status %d, %q", tt, did.kind, found, status, first)
		}
		rule, _, _ = strings.Cut(rule, ": the condition")
		want := map[bool]string{true: "allow", false: "deny"}[allowed]
		fmt.Fprintf(&table, "  - {name: %q, as: {key: %s}, server: %s, %s: %q, args: '%s', want: %s, rule: %q}\n",
			tt.who+" "+tt.name+tt.args, tt.who, tt.server, tt.flag, tt.name, tt.args, want, rule)
	}
	path := filepath.Join(g.dir, "expected.yaml")
	if err := os.WriteFile(path, []byte(table.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(filepath.Join(built.bin, "mcp-gateway"), "policy", "test", path).CombinedOutput(); err != nil {
		t.Errorf("policy test: %v: %s", err, out)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(table.String(), "want: allow", "want: deny", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(filepath.Join(built.bin, "mcp-gateway"), "policy", "test", path).CombinedOutput(); err == nil || !strings.Contains(string(out), path+":3:") {
		t.Errorf("policy test of what is not so: got %v: %s", err, out)
	}
}

// reloads has the policy file change, alone.
func (g *ruled) reloads(t *testing.T) {
	reader := g.clients["reader"]
	image := func() string {
		return reader.http(t, "/servers/many", "tools/call", `"name":"test_image_content","arguments":{}`).kind
	}
	rewrite := func(text string) {
		if err := os.WriteFile(g.policy, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := image(); got != "403" {
		t.Errorf("before the change: got %s", got)
	}
	for _, bad := range []struct{ text, where string }{
		{strings.Replace(fmt.Sprintf(rulesText, "test_image"), "servers: [good]", "serfers: [good]", 1), ":5:33: "},
		{strings.Replace(fmt.Sprintf(rulesText, "test_image"), "has(args.path)", "hass(args.path)", 1), ":5:"},
	} {
		g.logs(t, "the old configuration stays in force", func() { rewrite(bad.text) })
		if text := g.refusedReload(t); !strings.Contains(text, g.policy+bad.where) && !strings.Contains(text, "policies.yaml"+bad.where) {
			t.Errorf("reload: got %s, want %s", text, bad.where)
		}
		if got := image(); got != "403" {
			t.Errorf("after a bad policy: got %s", got)
		}
		if got := reader.http(t, "/servers/good", "tools/call", `"name":"echo","arguments":{}`).kind; got != "ok" {
			t.Errorf("after a bad policy, what was allowed: got %s", got)
		}
	}
	g.logs(t, `msg="configuration loaded"`, func() { rewrite(fmt.Sprintf(rulesText, "test_image")) })
	if got := image(); got != "ok" {
		t.Errorf("after the change: got %s", got)
	}
	if names := namesIn(t, reader.http(t, "", "tools/list", "").text, "tools", "name"); !slices.Contains(names, "many__test_image_content") {
		t.Errorf("after the change: got %v", names)
	}
}
