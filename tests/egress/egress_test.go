// Package egress_test shows what programs in a sandbox's network namespace can
// reach through proxy/egress: curl, Node, Python and Go, none of which knows of a
// proxy. The tests run in a network namespace of their own, the outside, which has
// real servers on public, private and link-local addresses alike: only the rules
// keep a program away from them. It needs root, curl, node and python3, and fails
// without them.
package egress_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/policy"
	"mcpgateway/proxy/egress"
)

// Variables that make the test binary something else.
const (
	outsideVariable = "EGRESS_TEST_OUTSIDE" // the tests, in the namespaces made for them; a folder for their files
	fetchVariable   = "EGRESS_TEST_FETCH"   // a client in Go that fetches the URL
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if url := os.Getenv(fetchVariable); url != "" {
		return fetch(url)
	}
	if os.Getenv(outsideVariable) != "" {
		return m.Run()
	}
	folder, err := os.MkdirTemp("", "mcp-gateway-egress-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "tests/egress:", err)
		return 1
	}
	defer os.RemoveAll(folder)
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), outsideVariable+"="+folder)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET, Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
	}
	runtime.LockOSThread() // the signal comes when the thread ends
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "tests/egress: in namespaces of its own (it needs root):", err)
		return 1
	}
	return 0
}

// fetch is the client in Go.
func fetch(url string) int {
	client := http.Client{Timeout: patience}
	response, err := client.Get(url)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer response.Body.Close()
	if _, err := io.Copy(os.Stdout, response.Body); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// patience is how long a client waits. What is refused must be refused before:
// clients that ran out of it say so, and no test takes that for a refusal.
const patience = time.Second

// client is a program that fetches a URL.
type client struct {
	name    string
	command func(url string) *exec.Cmd
	late    string // what it says when it ran out of patience
}

func clients() []client {
	return []client{
		{"curl", func(url string) *exec.Cmd { return curl(url) }, "timed out"},
		{"Node", func(url string) *exec.Cmd {
			// Some versions forget a request whose connection is reset early, and end.
			return exec.Command("node", "-e", `process.exitCode = 1; fetch(process.argv[1], {signal: AbortSignal.timeout(`+fmt.Sprint(patience.Milliseconds())+`)})
				.then(r => r.text()).then(t => { process.exitCode = 0; process.stdout.write(t) })
				.catch(e => { console.error(e, e.cause); process.exit(1) })`, url)
		}, "TimeoutError"},
		{"Python", func(url string) *exec.Cmd {
			return exec.Command(python(), "-c", "import sys, urllib.request\n"+
				"sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout="+fmt.Sprint(patience.Seconds())+").read().decode())", url)
		}, "timed out"},
		{"Go", func(url string) *exec.Cmd {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = []string{fetchVariable + "=" + url}
			return cmd
		}, "Client.Timeout"},
	}
}

// python is the host's own, where there are several.
func python() string {
	if _, err := os.Stat("/usr/bin/python3"); err == nil {
		return "/usr/bin/python3"
	}
	return "python3"
}

func curl(url string, more ...string) *exec.Cmd {
	args := []string{"--silent", "--show-error", "--max-time", fmt.Sprint(patience.Seconds())}
	return exec.Command("curl", append(append(args, more...), url)...)
}

// do runs a client inside: what it printed, and whether it succeeded.
func (in *inside) do(t *testing.T, cmd *exec.Cmd) (output string, ok bool) {
	t.Helper()
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(cmd.Env, "PATH="+os.Getenv("PATH"), "SSL_CERT_FILE="+in.ca, "NODE_EXTRA_CA_CERTS="+in.ca, "CURL_CA_BUNDLE="+in.ca)
	var err error
	in.thread(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	if cmd.Wait() != nil {
		return stderr.String(), false
	}
	return stdout.String(), true
}

func network() policy.Network {
	return policy.Network{
		Allow: []string{
			"good.example:443", "good.example:80", "*.wild.example:443", "alt.example:8443", "six.example:443",
			"loop.example:443", "private.example:443", "metadata.example:80", "rebound.example:443", "mapped.example:443",
			publicAddress + ":443",
		},
		MaxConnections: 64, ConnectionsPerSecond: 1000,
	}
}

// TestAllowed: programs reach what is allowed, without any setting of a proxy.
func TestAllowed(t *testing.T) {
	in := enter(t, network())
	for _, url := range []string{
		"https://good.example/", "http://good.example/", "https://a.b.wild.example/", "https://alt.example:8443/", "https://six.example/",
		"https://GOOD.example/", "https://" + publicAddress + "/",
	} {
		for _, c := range clients() {
			t.Run(c.name+" "+url, func(t *testing.T) {
				output, ok := in.do(t, c.command(url))
				if !ok || !strings.HasPrefix(output, "hello at ") {
					t.Fatalf("got %q", output)
				}
				r := in.records.next(t)
				if r.Verdict != egress.Allowed || r.Sent == 0 || r.Received < int64(len(output)) || r.Duration == 0 ||
					output != "hello at "+net.JoinHostPort(r.Address.String(), fmt.Sprint(r.Port)) {
					t.Errorf("got %q and %+v", output, r)
				}
			})
		}
	}
}

// TestAddressFamilies: programs that ask only for what the host has an address of.
func TestAddressFamilies(t *testing.T) {
	in := enter(t, network())
	for _, family := range []string{"AF_UNSPEC", "AF_INET"} {
		output, ok := in.do(t, exec.Command(python(), "-c", "import socket\n"+
			"print(socket.getaddrinfo('good.example', 443, socket."+family+", socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)[0][4][0])"))
		if want := in.lookup(t, "good.example") + "\n"; !ok || output != want {
			t.Errorf("%s: got %q, want %q", family, output, want)
		}
	}
}

// TestRefused: everything else ends at once, for every program, and the record
// says why.
func TestRefused(t *testing.T) {
	tests := []struct {
		url, reason string
	}{
		{"https://%s.other.example/", "other.example is not in the profile's network.allow"},
		{"https://wild.%s.example/", "example is not in the profile's network.allow"},
		{"https://198.51.100.7/", "198.51.100.7:443 is not in the profile's network.allow"},
		{"https://[2001:db8::7]/", "[2001:db8::7]:443 is not in the profile's network.allow"},
		{"http://169.254.169.254/", "169.254.169.254:80 is not in the profile's network.allow"},
		{"http://10.0.0.5/", "10.0.0.5:80 is not in the profile's network.allow"},
		{"https://127.0.0.1/", "127.0.0.1:443 is the sandbox's own loopback"},
		{"https://localhost/", "is the sandbox's own loopback"},
		{"https://198.18.77.77/", "198.18.77.77 stands for no name"},
		{"https://loop.example/", "127.0.0.1 is a loopback address"},
		{"https://private.example/", "10.0.0.5 is a private address"},
		{"http://metadata.example/", "169.254.169.254 is a link-local address"},
		{"https://mapped.example/", "10.0.0.5 is a private address"},
		{"https://good.example:8443/", "good.example:8443 is not in the profile's network.allow"},
		{"http://good.example:443/", "no TLS ClientHello on port 443"},
	}
	for i, tt := range tests {
		// One network for each: the records of a network's refusals are bounded.
		in := enter(t, network())
		for _, c := range clients() {
			t.Run(c.name+" "+tt.url, func(t *testing.T) {
				url := tt.url
				if strings.Contains(url, "%s") { // a name has one record, whoever asks for it
					url = fmt.Sprintf(url, fmt.Sprintf("%s%d", strings.ToLower(c.name), i))
				}
				output, ok := in.do(t, c.command(url))
				if ok || strings.Contains(output, c.late) {
					t.Fatalf("got %q", output)
				}
				r := in.records.next(t)
				if r.Verdict != egress.Refused || !strings.Contains(r.Reason, tt.reason) || r.Sent != 0 || r.Received != 0 {
					t.Errorf("got %+v, want %q", r, tt.reason)
				}
				in.records.rest() // programs try again, by another address or version
			})
		}
	}
}

// TestRebinding: a name that had a public address has another now.
func TestRebinding(t *testing.T) {
	in := enter(t, network())
	if output, ok := in.do(t, curl("https://rebound.example/")); !ok {
		t.Fatal(output)
	}
	in.records.next(t)
	output, ok := in.do(t, curl("https://rebound.example/"))
	if ok || strings.Contains(output, "timed out") {
		t.Errorf("got %q", output)
	}
	if r := in.records.next(t); r.Verdict != egress.Refused || !strings.Contains(r.Reason, "rebound.example resolves to an address that is refused: 10.0.0.5") {
		t.Errorf("got %+v", r)
	}
}

// TestSearchList: the host's list makes no other name of one that does not exist.
func TestSearchList(t *testing.T) {
	in := enter(t, network())
	if output, ok := in.do(t, curl("https://gone.wild.example/")); ok {
		t.Errorf("got %q", output)
	}
	if r := in.records.next(t); r.Verdict != egress.Failed || !strings.Contains(r.Reason, "no such host") {
		t.Errorf("got %+v", r)
	}
}

// TestServerName: an allowed address is no way to another name behind it.
func TestServerName(t *testing.T) {
	in := enter(t, network())
	output, ok := in.do(t, curl("https://evil.example/", "--connect-to", "evil.example:443:good.example:443"))
	if ok || strings.Contains(output, "timed out") {
		t.Errorf("got %q", output)
	}
	if r := in.records.next(t); r.Verdict != egress.Refused || r.Reason != "the TLS server name is evil.example, but the connection is to good.example" {
		t.Errorf("got %+v", r)
	}
}

// TestOtherProtocols: a port without a listener, and UDP, are refused by the
// kernel.
func TestOtherProtocols(t *testing.T) {
	in := enter(t, network())
	if output, ok := in.do(t, curl("http://good.example:81/")); ok || !strings.Contains(output, "(7)") {
		t.Errorf("another port: got %q", output)
	}
	var err error
	in.thread(func() {
		var conn net.Conn
		if conn, err = net.Dial("udp", publicAddress+":443"); err != nil {
			return
		}
		defer conn.Close()
		if err = conn.SetDeadline(time.Now().Add(patience)); err == nil {
			if _, err = conn.Write([]byte("QUIC")); err == nil {
				_, err = conn.Read(make([]byte, 1))
			}
		}
	})
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("UDP: got %v", err)
	}
}

// TestLimits: connections over the limit are reset, and others come after them.
func TestLimits(t *testing.T) {
	n := network()
	n.MaxConnections = 3
	in := enter(t, n)
	if output, ok := in.do(t, curl("http://good.example/")); !ok {
		t.Fatal(output)
	}
	in.records.next(t)
	address := in.lookup(t, "good.example")
	var held []net.Conn
	for range n.MaxConnections {
		var conn net.Conn
		var err error
		in.thread(func() { conn, err = net.Dial("tcp", net.JoinHostPort(address, "80")) })
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		held = append(held, conn)
	}
	output, ok := in.do(t, curl("http://good.example/"))
	if ok || strings.Contains(output, "timed out") {
		t.Errorf("got %q", output)
	}
	if r := in.records.next(t); r.Verdict != egress.Refused || !strings.Contains(r.Reason, "more than 3 connections at a time") {
		t.Errorf("got %+v", r)
	}
	held[0].Close()
	if r := in.records.next(t); r.Verdict != egress.Allowed {
		t.Errorf("got %+v", r)
	}
	if output, ok := in.do(t, curl("http://good.example/")); !ok {
		t.Errorf("with room again: got %q", output)
	}
}

// TestLargeBodies go through whole, both ways.
func TestLargeBodies(t *testing.T) {
	in := enter(t, network())
	body := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(body, []byte(strings.Repeat("0123456789abcdef", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	output, ok := in.do(t, curl("https://good.example/echo", "--data-binary", "@"+body, "--max-time", "60"))
	if !ok || output != strings.Repeat("0123456789abcdef", 1<<20) {
		t.Fatalf("got %d bytes: %.200q", len(output), output)
	}
	if r := in.records.next(t); r.Sent < 16<<20 || r.Received < 16<<20 {
		t.Errorf("got %+v", r)
	}
}

// TestEndWithTheSandbox: nothing is served any more, and open connections break
// off.
func TestEndWithTheSandbox(t *testing.T) {
	in := enter(t, network())
	address := in.lookup(t, "good.example")
	var conn net.Conn
	var err error
	in.thread(func() { conn, err = net.Dial("tcp", net.JoinHostPort(address, "80")) })
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in.end()
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("got %v, want a reset", err)
	}
	in.thread(func() { _, err = net.Dial("tcp", net.JoinHostPort(address, "80")) })
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v after the end", err)
	}
}
