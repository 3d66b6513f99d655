package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mcpgateway/policy/authntest"
)

// provider is a certified OpenID Connect provider on loopback (tests/e2e/oidc).
type provider struct {
	issuer string
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
}

func startProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{cmd: exec.Command(built.node, filepath.Join(built.oidc, "provider.mjs"))}
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		p.in, err = p.cmd.StdinPipe()
	}
	problems := new(output)
	p.cmd.Stderr = problems
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop(t) })
	p.out = bufio.NewScanner(out)
	if p.out.Scan() {
		p.issuer = p.out.Text()
	}
	if p.issuer == "" {
		t.Fatalf("the provider did not start: %s", problems.String())
	}
	return p
}

// stop takes the provider away. What it returns does not matter: it was killed.
func (p *provider) stop(t *testing.T) {
	t.Helper()
	if p.cmd.ProcessState != nil {
		return
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = p.cmd.Wait()
}

// publish replaces the provider's keys; the first signs from then on.
func (p *provider) publish(t *testing.T, keys string) {
	t.Helper()
	if _, err := fmt.Fprintln(p.in, keys); err != nil {
		t.Fatal(err)
	}
	if !p.out.Scan() || p.out.Text() != keys {
		t.Fatalf("the provider answered %q to new keys", p.out.Text())
	}
}

// token is one for a resource, by client credentials (RFC 6749, section 4.4; RFC 8707).
func (p *provider) token(t *testing.T, resource string, scopes ...string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {strings.Join(scopes, " ")}, "resource": {resource}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.issuer+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("agent", "agent-secret")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || strings.Count(answer.Token, ".") != 2 {
		t.Fatalf("got status %d and token %q (%v)", response.StatusCode, answer.Token, err)
	}
	return answer.Token
}

// document is what clients are told of a resource (RFC 9728).
type document struct {
	Resource             string
	AuthorizationServers []string `json:"authorization_servers"`
	Scopes               []string `json:"scopes_supported"`
	BearerMethods        []string `json:"bearer_methods_supported"`
}

// described gets the metadata of a resource as a client without a credential does.
func (g *gateway) described(t *testing.T, address string) (d document) {
	t.Helper()
	a := (&session{url: address}).do(t, http.MethodGet, "", nil)
	if err := json.Unmarshal(a.message, &d); err != nil || a.status != http.StatusOK {
		t.Fatalf("GET %s: got status %d %s (%v)", address, a.status, a.message, err)
	}
	return d
}

// withToken is a session with a server that is not open yet.
func (g *gateway) withToken(server, token string) *session {
	return &session{url: g.addresses.HTTP + "/servers/" + server + "/mcp", key: token}
}

// opened opens a session with a token and ends it.
func (s *session) opened(t *testing.T) answer {
	t.Helper()
	a := s.open(t)
	if s.id != "" {
		s.end(t)
	}
	return a
}

// TestOIDC goes the way of a client that knows nothing but the address: it is told
// where to get a token, gets one for that very address, and calls.
func TestOIDC(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	recorder := fmt.Sprintf("mounts: [%q]", built.programs+":/srv/e2e")
	g := start(t, fmt.Sprintf("security: {authentication: {type: [oidc, api-key], issuers: [%q], required_scopes: [mcp]}}\n", p.issuer),
		servers(
			entry("files", "command: /bin/sh", `args: ["-c", "tee /tmp/received | /srv/e2e/testserver"]`, recorder),
			testserver("strict", "required_scopes: [files]"), testserver("other")))

	stranger := g.withToken("files", "").open(t)
	challenge := stranger.header.Get("WWW-Authenticate")
	_, rest, _ := strings.Cut(challenge, `resource_metadata="`)
	metadataURL, _, _ := strings.Cut(rest, `"`)
	if stranger.status != http.StatusUnauthorized || !strings.HasPrefix(challenge, "Bearer ") || !strings.Contains(challenge, `scope="mcp"`) {
		t.Fatalf("got status %d and the challenge %q", stranger.status, challenge)
	}
	d := g.described(t, metadataURL)
	if want := g.addresses.HTTP + "/servers/files/mcp"; d.Resource != want || len(d.AuthorizationServers) != 1 || d.AuthorizationServers[0] != p.issuer ||
		fmt.Sprint(d.Scopes, d.BearerMethods) != "[mcp] [header]" {
		t.Fatalf("got the metadata %+v, want those of %s", d, want)
	}
	token := p.token(t, d.Resource, d.Scopes...)
	s := g.withToken("files", token)
	if a := s.open(t); a.status != http.StatusOK {
		t.Fatalf("got status %d %s with a token, want 200", a.status, a.message)
	}
	g.sawNoToken(t, s, token)
	s.end(t)

	for _, path := range []string{"/mcp", "/projects/x/mcp", "/servers/files/sse", "/servers/nothing/mcp", "/servers/files/ws", "/api/v1"} {
		got := g.described(t, g.addresses.HTTP+"/.well-known/oauth-protected-resource"+path)
		if want := g.addresses.HTTP + path; got.Resource != want || fmt.Sprint(got.AuthorizationServers, got.Scopes) != fmt.Sprint(d.AuthorizationServers, d.Scopes) {
			t.Errorf("%s: got %+v", path, got)
		}
	}

	resource := func(server string) string { return g.addresses.HTTP + "/servers/" + server + "/mcp" }
	tests := []struct {
		name, server, token string
		status              int
		challenge           string
	}{
		{"for another server", "files", p.token(t, resource("other"), "mcp"), http.StatusUnauthorized, `error="invalid_token"`},
		{"for another gateway", "files", p.token(t, "https://gw.example.com/servers/files/mcp", "mcp"), http.StatusUnauthorized, `error="invalid_token"`},
		{"without the scope of all", "files", p.token(t, resource("files"), "files"), http.StatusForbidden, `error="insufficient_scope"`},
		{"without the server's scope", "strict", p.token(t, resource("strict"), "mcp"), http.StatusForbidden, `error="insufficient_scope"`},
		{"with both", "strict", p.token(t, resource("strict"), "mcp", "files"), http.StatusOK, ""},
		{"unknown server", "nothing", p.token(t, resource("nothing"), "mcp"), http.StatusNotFound, ""},
		{"API key", "strict", g.addresses.Key, http.StatusOK, ""},
	}
	for _, tt := range tests {
		a := g.withToken(tt.server, tt.token).opened(t)
		got := a.header.Get("WWW-Authenticate")
		if a.status != tt.status || !strings.Contains(got, tt.challenge) || (got == "") != (tt.challenge == "") {
			t.Errorf("%s: got status %d %s, challenge %q, want %d and %s", tt.name, a.status, a.message, got, tt.status, tt.challenge)
		}
		if wants := `scope="mcp files"`; tt.name == "without the server's scope" && !strings.Contains(got, wants) {
			t.Errorf("%s: got the challenge %q, want %s in it", tt.name, got, wants)
		}
	}
}

// sawNoToken looks at all that a server was sent, and at its environment.
func (g *gateway) sawNoToken(t *testing.T, s *session, token string) {
	t.Helper()
	seen := s.ask(t, "read_file", map[string]string{"path": "/tmp/received"})
	if !strings.Contains(seen, "/tmp/received") {
		t.Fatalf("got %s, want what the server was sent", seen)
	}
	seen += s.ask(t, "env", struct{}{}) + g.log.String()
	for part := range strings.SplitSeq(token, ".") {
		if strings.Contains(seen, part) {
			t.Errorf("a part of the token reached the server or the log: %s", seen)
		}
	}
}

// TestOIDCKeyRotation has the provider change its keys, and then go away.
func TestOIDCKeyRotation(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	w := authntest.New(t)
	g := start(t, fmt.Sprintf("security: {authentication: {type: oidc, issuers: [%q]}}\n", p.issuer), servers(testserver("files")))
	j := &judge{gateway: g, world: w}
	resource := g.addresses.HTTP + "/servers/files/mcp"
	asked := 0
	// Each time from another address, of which none fails too often.
	ask := func(token string) (int, http.Header) {
		t.Helper()
		asked++
		status, header, _ := j.show(t, authntest.Case{Header: http.Header{"Authorization": {"Bearer " + token}}}, from(asked),
			http.MethodGet, "/servers/files/mcp", "")
		return status, header
	}
	const letIn = http.StatusBadRequest // there is no session
	first := p.token(t, resource, "mcp")
	if got, _ := ask(first); got != letIn {
		t.Fatalf("got status %d with a token by the first key", got)
	}
	p.publish(t, "second")
	second, unused := p.token(t, resource, "mcp"), p.token(t, resource, "mcp")
	eventually(t, "a token by the new key is let in", func() bool { got, _ := ask(second); return got == letIn })
	if got, _ := ask(first); got != http.StatusUnauthorized {
		t.Errorf("got status %d with a token by the key that is retired, want 401", got)
	}

	p.stop(t)
	for name, token := range map[string]string{"that was seen before": second, "that was not": unused} {
		if got, _ := ask(token); got != letIn {
			t.Errorf("while the provider is down: got status %d with a token %s", got, name)
		}
	}
	stranger := w.Token(map[string]any{"iss": p.issuer, "aud": resource})
	eventually(t, "nobody can say whether an unknown key is good", func() bool {
		got, header := ask(stranger)
		return got == http.StatusServiceUnavailable && header.Get("Retry-After") != ""
	})
	if got, _ := ask(unused); got != letIn {
		t.Errorf("after that: got status %d with a token by a known key", got)
	}
}

// TestFirstTokenByGRPC has a gateway that serves gRPC alone: its door does not wait for
// keys, and they come all the same.
func TestFirstTokenByGRPC(t *testing.T) {
	t.Parallel()
	w := authntest.New(t)
	w.Issuer.Down(true)
	j := newJudge(t, w, authntest.Issued, "grpc: {enabled: true}", "http: {enabled: false}")
	token := authntest.Case{Header: http.Header{"Authorization": {"Bearer " + w.Token(nil)}}}
	if got := j.overGRPC(t, token, from(0)); got != http.StatusServiceUnavailable {
		t.Errorf("without the issuer's keys: got status %d, want 503", got)
	}
	w.Issuer.Down(false)
	eventually(t, "the first token is let in", func() bool {
		switch got := j.overGRPC(t, token, from(0)); got {
		case http.StatusOK:
			return true
		case http.StatusServiceUnavailable:
		default:
			t.Fatalf("got status %d with a good token", got)
		}
		return false
	})
}

// TestOrganizations has tokens in the shape of WorkOS AuthKit's decide what their
// holders may do: the organisation the project, roles and permissions the tools.
func TestOrganizations(t *testing.T) {
	t.Parallel()
	w := authntest.New(t)
	rules := filepath.Join(folder(t), "policies.yaml")
	err := os.WriteFile(rules, []byte(`version: "1.0"
roles:
  member:
    from_credential: true
    permissions:
      - {actions: [tools/call], tools: [echo, counters]}
      - {effect: deny, actions: [tools/call], tools: [counters], when: '!identity.scopes.exists(s, s == "tools:count")'}
  admin:
    from_credential: true
    permissions: [{actions: ["*"]}]
  owner:
    permissions: [{actions: ["*"]}]
bindings:
  - {role: owner, users: [olga], claims: {org_id: org_02HBETA}}
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	g := start(t, fmt.Sprintf(`projects: {alpha: {}, beta: {}}
security:
  authentication:
    type: workos
    workos: {domain: example.authkit.app}
    issuers: [%q]
    audience: %q
    organizations: {%s: alpha, org_02HBETA: beta}
  authorization: {type: rbac, policy_file: %q}
`, w.Issuer.URL, authntest.Audience, authntest.Organization, rules),
		servers(testserver("a", "project: alpha"), testserver("b", "project: beta")))
	token := func(user, organization, role string, permissions ...string) string {
		return w.Token(map[string]any{
			"sub": user, "sid": "session_01H", "org_id": organization, "role": role, "roles": []string{role}, "permissions": append([]string{}, permissions...), "groups": nil,
		})
	}
	const otherOrganization = "org_02HBETA"
	tests := []struct {
		name, server, token string
		open                int
		tools               string // that it may call, of three
	}{
		{"member", "a", token("ana", authntest.Organization, "member"), http.StatusOK, "echo"},
		{"member with a permission", "a", token("ana", authntest.Organization, "member", "tools:count"), http.StatusOK, "echo counters"},
		{"admin", "a", token("ada", authntest.Organization, "admin"), http.StatusOK, "echo counters env"},
		{"admin of another organisation", "a", token("bob", otherOrganization, "admin"), http.StatusNotFound, ""},
		{"role that no token gives", "a", token("eve", authntest.Organization, "owner"), http.StatusNotFound, ""},
		{"role that there is not", "a", token("eve", authntest.Organization, "root"), http.StatusNotFound, ""},
		{"bound by its claims", "b", token("olga", otherOrganization, "guest"), http.StatusOK, "echo counters env"},
		{"of that name in another organisation", "a", token("olga", authntest.Organization, "guest"), http.StatusNotFound, ""},
		{"organisation that is not known", "a", token("ana", "org_03", "admin"), http.StatusUnauthorized, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := g.withToken(tt.server, tt.token)
			if a := s.open(t); a.status != tt.open {
				t.Fatalf("got status %d %s, want %d", a.status, a.message, tt.open)
			}
			if tt.open != http.StatusOK {
				return
			}
			defer s.end(t)
			list := string(s.post(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`).message)
			for _, tool := range []string{"echo", "counters", "env"} {
				want := strings.Contains(tt.tools, tool)
				if listed := strings.Contains(list, `"name":"`+tool+`"`); listed != want && tool != "counters" {
					t.Errorf("%s: listed: %t, want %t", tool, listed, want)
				}
				a := s.call(t, tool, "{}")
				if called := a.status == http.StatusOK && strings.Contains(string(a.message), `"content"`); called != want {
					t.Errorf("%s: called: %t, want %t: %d %s", tool, called, want, a.status, a.message)
				}
			}
		})
	}
}
