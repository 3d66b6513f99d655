package egress

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mcpgateway/policy"
)

// echo is a server outside that says everything again.
func echo(t *testing.T) (port uint16) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return listener.Addr().(*net.TCPAddr).AddrPort().Port()
}

// closedPort is one where nobody listens.
func closedPort(t *testing.T) uint16 {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).AddrPort().Port()
}

// TestConnections makes connections that mean any address: in a namespace of a
// sandbox they would come from a listener.
func TestConnections(t *testing.T) {
	t.Parallel()
	port, closed := echo(t), closedPort(t)
	allow := func(host string, port uint16) string { return host + ":" + portText(port) }
	rules := mustRules(t, policy.Network{
		Allow: []string{
			allow("good.example", port), allow("*.wild.example", port), allow("two.example", port), allow("none.example", port), allow("dead.example", closed),
			allow("private.example", port), allow("metadata.example", port), allow("mixed.example", port), allow("rebound.example", port),
			allow("unknown.example", port), "tls.example:443",
		},
		Private: []string{"127.0.0.0/16"},
	})
	resolver := outsideNames(t, map[string][]string{
		"good.example":     {"127.0.0.1"},
		"x.wild.example":   {"127.0.0.1"},
		"two.example":      {"127.0.5.5 127.0.0.1"}, // nobody listens at the first
		"none.example":     {""},
		"dead.example":     {"127.0.0.1"},
		"private.example":  {"10.0.0.1"},
		"metadata.example": {"169.254.169.254"},
		"mixed.example":    {"10.0.0.1 127.0.0.1 127.1.0.1"},
		"rebound.example":  {"127.0.0.1", "127.1.0.1"},
	})
	tests := []struct {
		name    string // "" for an address
		address string
		port    uint16
		say     string
		verdict Verdict
		at      string // in the record
		reason  string
	}{
		{name: "good.example", port: port, say: "hello", verdict: Allowed, at: "127.0.0.1"},
		{name: "x.wild.example", port: port, say: "hello", verdict: Allowed, at: "127.0.0.1"},
		{name: "two.example", port: port, say: "hello", verdict: Allowed, at: "127.0.0.1"},
		{name: "mixed.example", port: port, say: "hello", verdict: Allowed, at: "127.0.0.1"},
		{name: "rebound.example", port: port, say: "hello", verdict: Allowed, at: "127.0.0.1"},
		{name: "rebound.example", port: port, verdict: Refused, reason: "rebound.example resolves to an address that is refused: 127.1.0.1 is a loopback address and in no range of network.private"},
		{name: "private.example", port: port, verdict: Refused, reason: "10.0.0.1 is a private address"},
		{name: "metadata.example", port: port, verdict: Refused, reason: "169.254.169.254 is a link-local address"},
		{name: "none.example", port: port, verdict: Failed, reason: "resolve none.example: "},
		{name: "unknown.example", port: port, verdict: Failed, reason: "no such host"},
		{name: "dead.example", port: closed, verdict: Failed, at: "127.0.0.1", reason: "connection refused"},
		{name: "good.example", port: closed, verdict: Refused, reason: allow("good.example", closed) + " is not in the profile's network.allow"},
		{name: "tls.example", port: 443, say: "GET / HTTP/1.1\r\n\r\n", verdict: Refused, reason: "no TLS ClientHello on port 443"},
		{address: "198.18.200.1", port: port, verdict: Refused, reason: "198.18.200.1 stands for no name"},
		{address: "127.0.0.1", port: port, verdict: Refused, at: "127.0.0.1", reason: "sandbox's own loopback"},
		{address: "::1", port: port, verdict: Refused, at: "::1", reason: "sandbox's own loopback"},
		{address: "198.51.100.7", port: 443, verdict: Refused, at: "198.51.100.7", reason: "198.51.100.7:443 is not in the profile's network.allow"},
		{address: "169.254.169.254", port: 80, verdict: Refused, at: "169.254.169.254", reason: "169.254.169.254:80 is not in the profile's network.allow"},
		{address: "2001:db8::1", port: 80, verdict: Refused, at: "2001:db8::1", reason: "[2001:db8::1]:80 is not in the profile's network.allow"},
	}
	records := newRecords()
	e := newEgress(Instance{Server: "files", Project: "team", Sandbox: "files-1", Rules: rules, Resolver: resolver, Record: records.add})
	for _, tt := range tests {
		client, accepted := pipe(t)
		write(t, client, tt.say)
		meant := netip.AddrPortFrom(e.names.address(tt.name), tt.port)
		if tt.address != "" {
			meant = netip.AddrPortFrom(netip.MustParseAddr(tt.address), tt.port)
		}
		e.running.Go(func() { e.serve(t.Context(), accepted, meant) })
		if tt.verdict == Allowed {
			read(t, client, tt.say)
			client.Close()
		} else {
			wantEnd(t, client, syscall.ECONNRESET)
		}
		got := records.next(t)
		if got.Duration <= 0 {
			t.Errorf("%v: no duration", meant)
		}
		got.Duration = 0
		if !strings.Contains(got.Reason, tt.reason) || (tt.reason == "") != (got.Reason == "") {
			t.Errorf("%s%s: got the reason %q, want %q", tt.name, tt.address, got.Reason, tt.reason)
		}
		got.Reason = ""
		want := Record{Server: "files", Project: "team", Sandbox: "files-1", Name: tt.name, Port: tt.port, Verdict: tt.verdict}
		if tt.at != "" {
			want.Address = netip.MustParseAddr(tt.at)
		}
		if tt.verdict == Allowed {
			want.Sent, want.Received = int64(len(tt.say)), int64(len(tt.say))
		}
		if got != want {
			t.Errorf("%s%s: got %+v, want %+v", tt.name, tt.address, got, want)
		}
	}
	e.running.Wait()
	records.none(t)
}

// TestAddressRule: what a rule names by its address needs no other permission.
func TestAddressRule(t *testing.T) {
	t.Parallel()
	records := newRecords()
	e := newEgress(Instance{Rules: mustRules(t, policy.Network{Allow: []string{"169.254.169.254:80"}}), Record: records.add})
	if err := e.checkMeant(netip.MustParseAddrPort("169.254.169.254:80"), ""); err != nil {
		t.Errorf("got %v", err)
	}
}

// TestServeEndsConnections: with the sandbox everything of it ends.
func TestServeEndsConnections(t *testing.T) {
	t.Parallel()
	port := echo(t)
	records := newRecords()
	rules := mustRules(t, policy.Network{Allow: []string{"good.example:" + portText(port), "deaf.example:" + portText(port), "tls.example:443"}, Private: []string{"127.0.0.0/8"}})
	resolver := outsideNames(t, map[string][]string{"good.example": {"127.0.0.1"}, "deaf.example": {"127.0.0.9"}})
	e := newEgress(Instance{Rules: rules, Resolver: resolver, Record: records.add})
	ctx, cancel := context.WithCancel(t.Context())
	start := func(name string, port uint16) *net.TCPConn {
		client, accepted := pipe(t)
		e.running.Go(func() { e.serve(ctx, accepted, netip.AddrPortFrom(e.names.address(name), port)) })
		return client
	}
	deaf, err := net.Listen("tcp", "127.0.0.9:"+portText(port))
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	running, silent, full := start("good.example", port), start("tls.example", 443), start("deaf.example", port)
	write(t, running, "x")
	read(t, running, "x")
	for err == nil { // until nothing moves on the way
		if err = full.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err == nil {
			_, err = full.Write(make([]byte, 1<<20))
		}
	}
	cancel()
	wantEnd(t, running, syscall.ECONNRESET)
	wantEnd(t, silent, syscall.ECONNRESET)
	e.running.Wait()
	for range 3 {
		if got := records.next(t); got.Reason != "the server has ended" || got.Duration >= helloWait {
			t.Errorf("got %+v", got)
		}
	}
}

func portText(port uint16) string {
	return strconv.Itoa(int(port))
}

// TestListener: what a listener accepts is judged by the address it came to.
func TestListener(t *testing.T) {
	t.Parallel()
	in := serve(t, policy.Network{Allow: []string{"api.example.com:443"}})
	wantReset(t, in.listener)
	want := netip.MustParseAddrPort(in.listener)
	if got := in.next(t); got.Verdict != Refused || got.Address != want.Addr() || got.Port != want.Port() || !strings.Contains(got.Reason, "own loopback") {
		t.Errorf("got %+v", got)
	}
}

func TestRateOfConnections(t *testing.T) {
	t.Parallel()
	in := serve(t, policy.Network{MaxConnections: 2, ConnectionsPerSecond: 0.0001})
	for range 2 {
		wantReset(t, in.listener)
		if got := in.next(t); !strings.Contains(got.Reason, "loopback") {
			t.Errorf("got %+v", got)
		}
	}
	wantReset(t, in.listener)
	if got := in.next(t); got.Verdict != Refused || got.Reason != "more than 0.0001 connections per second, the profile's network.connections_per_second" {
		t.Errorf("got %+v", got)
	}
}

func TestConnectionsAtATime(t *testing.T) {
	t.Parallel()
	port := echo(t)
	records := newRecords()
	e := newEgress(Instance{
		Rules:    mustRules(t, policy.Network{Allow: []string{"good.example:" + portText(port)}, Private: []string{"127.0.0.0/8"}, MaxConnections: 2}),
		Resolver: outsideNames(t, map[string][]string{"good.example": {"127.0.0.1"}}),
		Record:   records.add,
	})
	for range 2 {
		if err := e.reserve(); err != nil {
			t.Fatal(err)
		}
	}
	client, accepted := pipe(t)
	e.admit(t.Context(), accepted)
	wantEnd(t, client, syscall.ECONNRESET)
	if got := records.next(t); got.Reason != "more than 2 connections at a time, the profile's network.max_connections" {
		t.Errorf("got %+v", got)
	}
	<-e.slots
	client, accepted = pipe(t)
	e.admit(t.Context(), accepted)
	wantEnd(t, client, syscall.ECONNRESET) // admitted, and refused as loopback
	e.running.Wait()
	if got := records.next(t); !strings.Contains(got.Reason, "loopback") {
		t.Errorf("got %+v", got)
	}
	if len(e.slots) != 1 {
		t.Errorf("%d slots are taken, want 1", len(e.slots))
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := Log(slog.New(slog.NewTextHandler(&out, nil)))
	log(Record{
		Server: "files", Project: "team", Sandbox: "files-1", Name: "a.example", Address: netip.MustParseAddr("192.0.2.1"), Port: 443,
		Sent: 5, Received: 7, Duration: time.Second, Verdict: Allowed,
	})
	log(Record{Server: "files", Port: 53, Name: "b.example", Verdict: Refused, Reason: "no", Suppressed: 3})
	for _, want := range []string{
		`level=INFO msg=egress server=files project=team sandbox=files-1 name=a.example address=192.0.2.1 port=443 sent=5 received=7 duration=1s verdict=allowed reason=""` + "\n",
		`level=WARN msg=egress server=files project="" sandbox="" name=b.example address="" port=53 sent=0 received=0 duration=0s verdict=refused reason=no suppressed=3` + "\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got %s, want %s", out.String(), want)
		}
	}
}
