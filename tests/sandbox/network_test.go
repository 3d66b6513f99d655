package sandbox_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"mcpgateway/sandbox"
)

// egress is a sandbox whose network the test answers.
func egress(t *testing.T, path string, args ...string) sandbox.Spec {
	t.Helper()
	s := spec(t, path, args...)
	s.Network = sandbox.NetworkEgress
	return s
}

// listeners takes over the sockets of a sandbox: udp and tcp of the name server,
// then the listener of everything else.
func listeners(t *testing.T, box running) (dns net.PacketConn, tcp []net.Listener) {
	t.Helper()
	files := box.Network()
	dns, err := net.FilePacketConn(files[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dns.Close() })
	for _, f := range files[1:] {
		l, err := net.FileListener(f)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		tcp = append(tcp, l)
	}
	for _, f := range files {
		f.Close()
	}
	return dns, tcp
}

// TestEveryAddressIsOurs: whatever address and port a server connects to, the
// caller answers, and learns which were meant.
func TestEveryAddressIsOurs(t *testing.T) {
	targets := []string{"198.18.0.7/443", "8.8.8.8/25", "10.1.2.3/5432", "169.254.169.254/80", "198.18.0.1/1", "255.0.0.1/65535"}
	if _, err := os.Stat("/proc/sys/net/ipv6"); err == nil {
		targets = append(targets, "2001:db8::7/8443", "::2/53")
	}
	script := ""
	for _, target := range targets {
		script += fmt.Sprintf("exec 3<>/dev/tcp/%s && read -r line <&3 && echo \"$line\"\n", target)
	}
	box := start(t, egress(t, "/bin/bash", "-c", script))
	_, tcp := listeners(t, box)
	go func() {
		for {
			conn, err := tcp[1].Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(conn, "%s\n", conn.LocalAddr())
			conn.Close()
		}
	}()
	box.stdin.Close()
	got := box.wait(t)
	for _, target := range targets {
		address, port, _ := strings.Cut(target, "/")
		if want := net.JoinHostPort(address, port) + "\n"; !strings.Contains(got.stdout, want) {
			t.Errorf("got %q (%s), want a connection to %s", got.stdout, got.stderr, want)
		}
	}
}

// TestLoopbackStaysItsOwn: what a server listens on inside is reached by itself, and
// what it does not listen on is refused.
func TestLoopbackStaysItsOwn(t *testing.T) {
	box := start(t, egress(t, "/usr/bin/python3", "-c", `
import socket
for family, address in (socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.9.8.7"), (socket.AF_INET6, "::1"):
    with socket.socket(family) as listener:
        listener.bind((address, 8443))
        listener.listen()
        socket.create_connection(listener.getsockname()[:2]).close()
        listener.accept()[0].send(b"")
        print("own")
    with socket.socket(family) as s:
        print(s.connect_ex((address, 8443)))
`))
	listeners(t, box)
	if got := box.wait(t); got.stdout != strings.Repeat("own\n111\n", 3) { // ECONNREFUSED
		t.Errorf("got %q (%s), want its own listener, and a refusal without one", got.stdout, got.stderr)
	}
}

func TestNameServerIsOurs(t *testing.T) {
	box := start(t, egress(t, "/bin/bash", "-c", `exec 3<>/dev/udp/127.0.0.1/53; echo query >&3; dd bs=100 count=1 <&3`))
	dns, _ := listeners(t, box)
	buffer := make([]byte, 100)
	dns.SetDeadline(time.Now().Add(3 * time.Second)) // rather than for ever
	n, from, err := dns.ReadFrom(buffer)
	if err != nil || string(buffer[:n]) != "query\n" {
		t.Fatalf("got %q, %v, want the query: %+v", buffer[:n], err, box.wait(t))
	}
	if _, err := dns.WriteTo([]byte("answer\n"), from); err != nil {
		t.Fatal(err)
	}
	if got := box.wait(t); got.stdout != "answer\n" {
		t.Errorf("got %q (%s), want the answer", got.stdout, got.stderr)
	}
}

// TestNothingElse: what is not TCP is refused at once, and nothing but loopback is
// there.
func TestNothingElse(t *testing.T) {
	s := egress(t, "/usr/bin/python3", "-c", `
import fcntl, socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(20)
s.connect(("8.8.8.8", 443))
s.send(b"x")
try: s.recv(1)
except OSError as e: print(e.errno)
for _, name in socket.if_nameindex():
    flags, = struct.unpack("16xH", fcntl.ioctl(s, 0x8913, struct.pack("18s", name.encode()))) # SIOCGIFFLAGS
    if flags & 1: # IFF_UP
        print(name)
print(open("/proc/net/route").read().count("\n"))
`)
	box := start(t, s)
	listeners(t, box)
	if got := box.wait(t); got.stdout != "111\nlo\n1\n" { // ECONNREFUSED, loopback, the table's heading
		t.Errorf("got %q (%s), want a refusal, loopback, and no route", got.stdout, got.stderr)
	}
}

// TestAddressThatCounts: getaddrinfo(3) with AI_ADDRCONFIG, as browsers call it,
// finds that the sandbox speaks IPv4.
func TestAddressThatCounts(t *testing.T) {
	box := start(t, egress(t, "/usr/bin/python3", "-c", `import socket; print(socket.getaddrinfo("name.example", 80, socket.AF_INET, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)[0][4][0])`))
	dns, _ := listeners(t, box)
	go func() {
		query := make([]byte, 512)
		for {
			n, from, err := dns.ReadFrom(query)
			if err != nil {
				return
			}
			question := query[12 : 12+bytes.IndexByte(query[12:n], 0)+5]
			answer := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0}, question...)
			dns.WriteTo(append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1), from) // its address (RFC 1035)
		}
	}()
	if got := box.wait(t); got.stdout != "192.0.2.1\n" {
		t.Errorf("got %q (%s), want an address", got.stdout, got.stderr)
	}
}

func TestNoNetworkFailsAtOnce(t *testing.T) {
	got := shell(t, `exec bash -c 'exec 3<>/dev/tcp/8.8.8.8/443'`)
	if !strings.Contains(got.stderr, "Network is unreachable") {
		t.Errorf("got %q, want that the network is unreachable", got.stderr)
	}
	if box := start(t, spec(t, "/bin/true")); box.Network() != nil {
		t.Error("a sandbox without network came with sockets")
	}
}

// TestHostNetwork: only a spec that spells it out shares the host's network, and
// its abstract sockets stay out of reach all the same.
func TestHostNetwork(t *testing.T) {
	name := fmt.Sprintf("@mcp-gateway-test-%d", os.Getpid())
	abstract, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer abstract.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	s := spec(t, "/usr/bin/python3", "-c", `
import socket, sys
socket.create_connection(("127.0.0.1", int(sys.argv[2])))
print("tcp")
try:
    socket.socket(socket.AF_UNIX).connect("\0" + sys.argv[1])
    print("abstract")
except PermissionError as e:
    print("refused")
`, name[1:], fmt.Sprint(tcp.Addr().(*net.TCPAddr).Port))
	s.Network = sandbox.NetworkHost
	if got := runToEnd(t, s); got.stdout != "tcp\nrefused\n" {
		t.Errorf("got %q (%s), want the port of the host and not its abstract socket", got.stdout, got.stderr)
	}
	s.ID += "-off"
	s.Landlock.Off = true
	if _, err := tryStart(t, s); err == nil || !strings.Contains(err.Error(), "abstract sockets") {
		t.Errorf("got %v, want a refusal without Landlock", err)
	}
}
