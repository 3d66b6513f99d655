package egress

import (
	"math"
	"net/netip"
	"strings"
	"testing"

	"mcpgateway/policy"
)

func mustRules(t testing.TB, n policy.Network) *Rules {
	t.Helper()
	if n.MaxConnections == 0 {
		n.MaxConnections = 100
	}
	if n.ConnectionsPerSecond == 0 {
		n.ConnectionsPerSecond = 1000
	}
	rules, err := NewRules(&n)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

func TestNewRulesRefuses(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]policy.Network{
		"no connections":   {ConnectionsPerSecond: 1},
		"no rate":          {MaxConnections: 1},
		"not a number":     {MaxConnections: 1, ConnectionsPerSecond: math.NaN()},
		"infinite":         {MaxConnections: 1, ConnectionsPerSecond: math.Inf(1)},
		"no port":          {MaxConnections: 1, ConnectionsPerSecond: 1, Allow: []string{"example.com"}},
		"everything":       {MaxConnections: 1, ConnectionsPerSecond: 1, Private: []string{"0.0.0.0/0"}},
		"second is broken": {MaxConnections: 1, ConnectionsPerSecond: 1, Allow: []string{"example.com:1", "*:1"}},
	} {
		if _, err := NewRules(&n); err == nil || !strings.HasPrefix(err.Error(), "network: ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	r := mustRules(t, policy.Network{Allow: []string{"a.example:443", "*.b.example:80", "192.0.2.1:5432"}})
	if r.allowsNamePort("a.example", 80) || r.allowsNamePort("x.b.example", 443) {
		t.Error("a port of another rule is allowed")
	}
	if !r.allowsNamePort("a.example", 443) || !r.allowsNamePort("x.b.example", 80) {
		t.Error("an allowed port is refused")
	}
	if !r.allowsName("a.example") || !r.allowsName("y.x.b.example") || r.allowsName("b.example") || r.allowsName("") || r.allowsName("192.0.2.1") {
		t.Error("names are wrong")
	}
	for text, want := range map[string]bool{"192.0.2.1:5432": true, "192.0.2.1:443": false, "192.0.2.2:5432": false, "0.0.0.0:443": false} {
		if got := r.allowsAddress(netip.MustParseAddrPort(text)); got != want {
			t.Errorf("%s: got %v", text, got)
		}
	}
	if r.allowsAddress(netip.AddrPort{}) {
		t.Error("no address at all is allowed")
	}
}

// TestCheckAddress has an address of each range, and both sides of each end that
// has public neighbours.
func TestCheckAddress(t *testing.T) {
	t.Parallel()
	public := []string{
		"1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
		"169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0", "192.88.98.255", "192.88.100.0",
		"192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0",
		"223.255.255.255", "::ffff:1.1.1.1", "2606:4700::1111", "2001:200::1", "2001:db7:ffff::1", "2001:db9::1", "2003::1", "3ffe::1", "3fff:1000::1",
		"64:ff9b::1.1.1.1",
	}
	refused := []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "100.100.100.200", "127.0.0.1", "127.255.255.255",
		"169.254.169.254", "169.254.0.0", "172.16.0.0", "172.31.255.255", "192.0.0.0", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.0",
		"192.168.255.255", "198.18.0.0", "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.0", "255.255.255.255",
		"::", "::1", "::1.1.1.1", "::10.0.0.1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0:10.0.0.1",
		"64:ff9b::10.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::1.1.1.1", "64:ff9b:1:fffe::1", "100::1", "1000::1", "4000::1", "5f00::1",
		"2001::1", "2001:0:53aa:64c::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:1ff:ffff::1", "2001:db8::1", "2002:a00:1::1", "2002:101:101::1",
		"3fff::1", "3fff:fff::1", "fc00::1", "fd00:ec2::254", "fdff::1", "fe80::1", "fe80::1%eth0", "2606:4700::1111%eth0", "fec0::1", "ff02::1",
	}
	r := mustRules(t, policy.Network{})
	for _, text := range public {
		if err := r.checkAddress(netip.MustParseAddr(text)); err != nil {
			t.Errorf("%s: got %v", text, err)
		}
	}
	for _, text := range refused {
		if r.checkAddress(netip.MustParseAddr(text)) == nil {
			t.Errorf("%s is let through", text)
		}
	}
}

func TestPrivateRangesAreExceptions(t *testing.T) {
	t.Parallel()
	r := mustRules(t, policy.Network{Private: []string{"10.1.0.0/16", "fd00:1::/32"}})
	for text, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "64:ff9b::10.1.2.3": true, "fd00:1::5": true,
		"10.2.0.1": false, "64:ff9b::10.2.0.1": false, "fd00:2::1": false, "127.0.0.1": false, "169.254.169.254": false,
	} {
		if got := r.checkAddress(netip.MustParseAddr(text)) == nil; got != want {
			t.Errorf("%s: got %v", text, got)
		}
	}
}
