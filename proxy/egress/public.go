package egress

import "net/netip"

// nat64 is the well-known prefix of translators (RFC 6052).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// special are the ranges that no public host has (IANA's registries of special
// purpose addresses), and those that lead to others by a tunnel.
var special = []struct {
	prefix netip.Prefix
	kind   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "an address of this host"},
	{netip.MustParsePrefix("10.0.0.0/8"), "a private address"},
	{netip.MustParsePrefix("100.64.0.0/10"), "a provider's internal address"},
	{netip.MustParsePrefix("127.0.0.0/8"), "a loopback address"},
	{netip.MustParsePrefix("169.254.0.0/16"), "a link-local address, where clouds keep credentials"},
	{netip.MustParsePrefix("172.16.0.0/12"), "a private address"},
	{netip.MustParsePrefix("192.0.0.0/24"), "an address for protocols"},
	{netip.MustParsePrefix("192.0.2.0/24"), "an address for documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "a 6to4 relay"},
	{netip.MustParsePrefix("192.168.0.0/16"), "a private address"},
	{netip.MustParsePrefix("198.18.0.0/15"), "an address for benchmarks"},
	{netip.MustParsePrefix("198.51.100.0/24"), "an address for documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "an address for documentation"},
	{netip.MustParsePrefix("224.0.0.0/4"), "a multicast address"},
	{netip.MustParsePrefix("240.0.0.0/4"), "a reserved address"}, // and the broadcast address

	{netip.MustParsePrefix("::/128"), "an address of this host"},
	{netip.MustParsePrefix("::1/128"), "a loopback address"},
	{netip.MustParsePrefix("fc00::/7"), "a private address"},
	{netip.MustParsePrefix("fe80::/10"), "a link-local address"},
	{netip.MustParsePrefix("ff00::/8"), "a multicast address"},
	{netip.MustParsePrefix("2001::/32"), "a Teredo tunnel"},
	{netip.MustParsePrefix("2001::/23"), "an address for protocols"},
	{netip.MustParsePrefix("2001:db8::/32"), "an address for documentation"},
	{netip.MustParsePrefix("2002::/16"), "a 6to4 tunnel"},
	{netip.MustParsePrefix("3fff::/20"), "an address for documentation"},
}

// global is all of IPv6 that is given out to public hosts. What is outside of it
// is refused whether it has an entry in special or not: local NAT64 prefixes and
// IPv4-compatible addresses, for two.
var global = netip.MustParsePrefix("2000::/3")

// notPublic says what kind of address a is; "" is a public one. a must be unmapped.
func notPublic(a netip.Addr) (kind string) {
	a, zoned := a.WithZone(""), a.Zone() != "" // no range contains an address with a zone
	for _, s := range special {
		if s.prefix.Contains(a) {
			return s.kind
		}
	}
	if zoned || !a.Is4() && !global.Contains(a) {
		return "not a public address"
	}
	return ""
}
