package e2e_test

import (
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// outsideServer is a server on the host that speaks TLS as example.com, on an address
// of this test's own.
func outsideServer(t *testing.T) (server *httptest.Server, address string) {
	t.Helper()
	address = fmt.Sprintf("127.77.%d.%d", os.Getpid()>>8&0xff, os.Getpid()&0xff)
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "443"))
	if err != nil {
		t.Fatal(err)
	}
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello ", r.Host)
	}))
	server.Listener.Close()
	server.Listener = listener
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, address
}

// namedOutside lets a gateway see names that lead where the test wants: its proxy
// resolves them as the host does.
func namedOutside(t *testing.T, names map[string]string) func(*gateway) {
	t.Helper()
	return func(g *gateway) {
		var hosts strings.Builder
		for name, address := range names {
			fmt.Fprintln(&hosts, address, name)
		}
		file := filepath.Join(g.dir, "hosts")
		if err := os.WriteFile(file, []byte(hosts.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		script := `mount --bind "$0" /etc/hosts && exec "$@"`
		g.cmd = exec.Command("unshare", append([]string{"--mount", "sh", "-c", script, file}, g.cmd.Args...)...)
		profiles := filepath.Join(g.dir, "profiles")
		if err := os.Mkdir(profiles, 0o755); err != nil {
			t.Fatal(err)
		}
		// The test's server is on loopback, which takes a word.
		profile := "extends = \"network-client\"\nallow_weaker = true\n[network]\nprivate = [\"127.77.0.0/16\"]\n"
		if err := os.WriteFile(filepath.Join(profiles, "outside.toml"), []byte(profile), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEgress: a server reaches what its configuration names. Everything else fails
// within a second, and the log says why.
func TestEgress(t *testing.T) {
	t.Parallel()
	outside, address := outsideServer(t)
	ca := owned(t, owner, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: outside.Certificate().Raw})))
	g := startPrepared(t, namedOutside(t, map[string]string{
		"example.com": address, "private.example.com": "10.0.0.5", "loop.example.com": "127.0.0.1", "other.example.com": address,
	}), "projects:\n  team: {allowed_directories: ["+ca+":ro]}\n", servers(
		testserver("open", "project: team", "profile: outside", `network: ["example.com:443", "private.example.com:443", "loop.example.com:443"]`),
		testserver("closed", "project: team"),
	))
	curl := func(server *session, url string) (output string, failed bool) {
		output = server.ask(t, "run", map[string]any{"argv": []string{
			"curl", "--silent", "--show-error", "--max-time", "1", "--cacert", filepath.Join(ca, "ca.pem"), url,
		}})
		return output, strings.HasPrefix(output, "curl: (")
	}
	open, closed := g.open(t, "open"), g.open(t, "closed")

	if got, failed := curl(open, "https://example.com/"); failed || got != "hello example.com" {
		t.Errorf("an allowed name: got %q", got)
	}
	wantLogged(t, g, "msg=egress server=open project=team", "name=example.com address="+address+" port=443", "verdict=allowed")
	for url, reason := range map[string]string{
		"https://other.example.com/":               "other.example.com is not in the profile's network.allow",
		"http://example.com/":                      "example.com:80 is not in the profile's network.allow",
		"http://example.com:8080/":                 "example.com:8080 is not in the profile's network.allow",
		"http://93.184.216.34:25/":                 "93.184.216.34:25 is not in the profile's network.allow",
		"https://93.184.216.34/":                   "93.184.216.34:443 is not in the profile's network.allow",
		"http://169.254.169.254/latest/meta-data/": "169.254.169.254:80 is not in the profile's network.allow",
		"https://[2606:2800:220:1::1]/":            "[2606:2800:220:1::1]:443 is not in the profile's network.allow",
		"https://private.example.com/":             "10.0.0.5 is a private address",
		"https://loop.example.com/":                "127.0.0.1 is a loopback address",
		"http://example.com:443/":                  "no TLS ClientHello on port 443",
	} {
		if got, failed := curl(open, url); !failed || strings.Contains(got, "timed out") {
			t.Errorf("%s: got %q", url, got)
		}
		wantLogged(t, g, "msg=egress server=open project=team", "verdict=refused", reason)
	}
	for _, url := range []string{g.addresses.HTTP, g.addresses.Admin} { // of the host's loopback
		if got, failed := curl(open, "http://"+strings.TrimPrefix(url, "http://")); !failed || !strings.Contains(got, "(7)") {
			t.Errorf("%s: got %q", url, got)
		}
	}
	for _, url := range []string{"https://example.com/", "https://" + address + "/"} {
		if got, failed := curl(closed, url); !failed || strings.Contains(got, "timed out") {
			t.Errorf("%s without network: got %q", url, got)
		}
	}
}

// wantLogged waits for a line of the log with all parts.
func wantLogged(t *testing.T, g *gateway, parts ...string) {
	t.Helper()
	eventually(t, "the log has a line with "+strings.Join(parts, ", "), func() bool {
		for line := range strings.Lines(g.log.String()) {
			if containsAll(line, parts) {
				return true
			}
		}
		return false
	})
}

func containsAll(line string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(line, part) {
			return false
		}
	}
	return true
}
