package e2e_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestKeys makes, uses and revokes keys of a gateway that runs.
func TestKeys(t *testing.T) {
	t.Parallel()
	g := start(t, servers(testserver("files"), testserver("other")))
	all := g.cli(t, "key", "create", "for all")
	one := g.cli(t, "key", "create", "for other", "--server", "other")
	wrong := all[:len(all)-4] + "AAAA"

	status := func(key, server string) int {
		s := g.at(server)
		s.key = key
		defer func() {
			if s.id != "" {
				s.end(t)
			}
		}()
		return s.open(t).status
	}
	tests := []struct {
		name, key, server string
		want              int
	}{
		{"no key", "", "files", http.StatusUnauthorized},
		{"wrong key", wrong, "files", http.StatusUnauthorized},
		{"no key at all", "x", "files", http.StatusUnauthorized},
		{"no key, no such server", "", "nothing", http.StatusUnauthorized},
		{"new key", all, "files", http.StatusOK},
		{"new key, no such server", all, "nothing", http.StatusNotFound},
		{"limited key", one, "other", http.StatusOK},
		{"limited key, another server", one, "files", http.StatusNotFound},
		{"throw-away key", g.addresses.Key, "files", http.StatusOK},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := status(tt.key, tt.server); got != tt.want {
				t.Errorf("got status %d, want %d", got, tt.want)
			}
		})
	}
	list := g.cli(t, "key", "list")
	stored := string(mustRead(t, g.state()+"/keys.json"))
	for _, key := range []string{all, one, g.addresses.Key} {
		secret := strings.SplitN(key, "_", 3)[2] // after "mcpgw" and the id
		for _, text := range []string{list, stored, g.log.String()} {
			if strings.Contains(text, secret) {
				t.Errorf("the secret part of a key is shown: %s", text)
			}
		}
	}

	// A session of a key that is revoked is over with it.
	s := g.at("files")
	s.key = all
	s.open(t)
	g.cli(t, "key", "revoke", keyID(t, list, "for all"))
	if got, want := status(all, "files"), http.StatusUnauthorized; got != want {
		t.Errorf("revoked key: got status %d, want %d", got, want)
	}
	if got, want := s.call(t, "echo", "{}").status, http.StatusUnauthorized; got != want {
		t.Errorf("revoked key in its session: got status %d, want %d", got, want)
	}
	if got, want := status(one, "other"), http.StatusOK; got != want {
		t.Errorf("the other key: got status %d, want %d", got, want)
	}
}

// keyID finds a key's id in the output of mcp-gateway key list.
func keyID(t *testing.T, list, name string) string {
	t.Helper()
	for line := range strings.Lines(list) {
		if strings.Contains(line, name) {
			return strings.Fields(line)[0]
		}
	}
	t.Fatalf("mcp-gateway key list has no %q: %s", name, list)
	return ""
}

// TestOtherSessions has a caller use another caller's session.
func TestOtherSessions(t *testing.T) {
	t.Parallel()
	g := start(t, servers(testserver("files")))
	s := g.open(t, "files")
	thief := &session{url: s.url, key: g.cli(t, "key", "create", "thief"), id: s.id}
	if got, want := thief.call(t, "echo", "{}").status, http.StatusNotFound; got != want {
		t.Errorf("call in another's session: got status %d, want %d", got, want)
	}
	if got, want := thief.do(t, http.MethodDelete, "", nil).status, http.StatusNotFound; got != want {
		t.Errorf("end another's session: got status %d, want %d", got, want)
	}
	if got, want := s.ask(t, "echo", struct{}{}), "{}"; got != want {
		t.Errorf("the owner's session: got %q, want %q", got, want)
	}
}

// TestForeignPages has requests come as a web page's would.
func TestForeignPages(t *testing.T) {
	t.Parallel()
	g := start(t, "transports: {http: {allowed_hosts: [mcp.example.com], allowed_origins: [\"https://app.example\"]}}\n", servers(testserver("files")))
	tests := []struct {
		name    string
		headers map[string]string
		want    int
	}{
		{"own page", map[string]string{"Origin": g.addresses.HTTP}, http.StatusOK},
		{"allowed page", map[string]string{"Origin": "https://app.example"}, http.StatusOK},
		{"foreign page", map[string]string{"Origin": "https://evil.example"}, http.StatusForbidden},
		{"page without origin", map[string]string{"Origin": "null"}, http.StatusForbidden},
		{"page that begins alike", map[string]string{"Origin": "https://app.example.evil.example"}, http.StatusForbidden},
		{"allowed host", map[string]string{"Host": "mcp.example.com"}, http.StatusOK},
		{"rebound name", map[string]string{"Host": "evil.example"}, http.StatusForbidden},
		{"rebound name with port", map[string]string{"Host": "evil.example:8080", "Origin": "http://evil.example:8080"}, http.StatusForbidden},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := g.at("files")
			a := s.do(t, http.MethodPost, initialize, tt.headers)
			if a.status != tt.want {
				t.Errorf("got status %d, want %d: %s", a.status, tt.want, a.message)
			}
			if s.id = a.header.Get("Mcp-Session-Id"); s.id != "" {
				s.end(t)
			}
		})
	}
}
