package proxy

import (
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"mcpgateway/policy"
	"mcpgateway/proxy/proxytest"
)

// network gives the sockets of a sandbox, on loopback, and the name server's
// address.
func network(t *testing.T) (files []*os.File, server string) {
	t.Helper()
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	file, err := udp.File()
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, file)
	for range 2 {
		tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer tcp.Close()
		file, err := tcp.File()
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files, udp.LocalAddr().String()
}

// TestInstancesKeepTheirNetwork: the rules are those of the generation that an
// instance was started under.
func TestInstancesKeepTheirNetwork(t *testing.T) {
	files, server := network(t)
	opener := &proxytest.Opener{Network: func(string) []*os.File { return files }}
	logged, log := io.Pipe()
	lines := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(logged)
		lines <- string(all)
	}()
	t.Cleanup(func() {
		log.Close()
		all := <-lines
		for _, part := range []string{"msg=egress server=echo project=team sandbox=echo-1 name=b.example", "verdict=refused", `reason="b.example is not in the profile's network.allow"`} {
			if !strings.Contains(all, part) {
				t.Errorf("the log lacks %s: %s", part, all)
			}
		}
	})
	r := newProxyOver(t, opener, log)
	first, key := newPolicy(t, 1, false, "echo")
	echo := first.Servers["echo"]
	echo.Project, echo.Network = "team", &policy.Network{Allow: []string{"a.example:443"}, MaxConnections: 1, ConnectionsPerSecond: 1}
	first.Servers["echo"] = echo
	if err := r.apply(first); err != nil {
		t.Fatal(err)
	}
	if status, _, text := r.post("echo", key, "", initialize); status != http.StatusOK {
		t.Fatalf("got %d %s", status, text)
	}
	second := first
	second.Generation = 2
	echo.Network = &policy.Network{Allow: []string{"b.example:443"}, MaxConnections: 1, ConnectionsPerSecond: 1}
	second.Servers = map[string]policy.Server{"echo": echo}
	if err := r.apply(second); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"a.example.": dns.RcodeSuccess, "b.example.": dns.RcodeNameError} {
		reply, err := dns.Exchange(new(dns.Msg).SetQuestion(name, dns.TypeA), server)
		if err != nil || reply.Rcode != want {
			t.Errorf("%s: got %v, %v", name, reply, err)
		}
	}
}

// TestNetworkWithoutRules: the daemon opened one that the policy knows nothing of.
func TestNetworkWithoutRules(t *testing.T) {
	files, _ := network(t)
	r := newProxyOver(t, &proxytest.Opener{Network: func(string) []*os.File { return files }}, t.Output())
	p, key := newPolicy(t, 1, false, "silent")
	if err := r.apply(p); err != nil {
		t.Fatal(err)
	}
	if _, _, text := r.post("silent", key, "", initialize); !strings.Contains(text, "the policy has no rules for it") {
		t.Errorf("got %s", text)
	}
	for _, f := range files {
		if f.Close() == nil {
			t.Error("a descriptor was left open")
		}
	}
}

func TestBrokenNetworkIsRefused(t *testing.T) {
	r := newProxy(t)
	p, _ := newPolicy(t, 1, false, "echo")
	echo := p.Servers["echo"]
	for name, n := range map[string]*policy.Network{
		"unbounded": {}, "no port": {Allow: []string{"example.com"}, MaxConnections: 1, ConnectionsPerSecond: 1},
	} {
		echo.Network = n
		p.Servers["echo"] = echo
		if err := r.apply(p); err == nil || !strings.Contains(err.Error(), `server "echo": network: `) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
