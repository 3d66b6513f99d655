package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Network is what a server's sandbox may reach. A server without one reaches
// nothing, or, if its profile says so, all that the host reaches; the proxy has no
// part in either.
type Network struct {
	Allow                []string `json:"allow"`             // as ParseTarget reads them
	Private              []string `json:"private,omitempty"` // as ParsePrivate reads them
	MaxConnections       int      `json:"max_connections"`   // at a time, > 0
	ConnectionsPerSecond float64  `json:"connections_per_second"`
}

// Target is one entry of an allow-list: a port of a name, of every name below
// one, or of an address.
type Target struct {
	Name    string     // lower case, without a final dot; "" for an address
	Below   bool       // "*.Name": every name below Name, however deep, but not Name
	Address netip.Addr // not valid for a name
	Port    uint16
}

// ParseTarget reads "name:port", "*.name:port", "192.0.2.1:port" or
// "[2001:db8::1]:port".
func ParseTarget(text string) (Target, error) {
	t, err := parseTarget(text)
	if err != nil {
		return Target{}, fmt.Errorf("allow %.300q: %w", text, err)
	}
	return t, nil
}

func parseTarget(text string) (t Target, err error) {
	colon := strings.LastIndexByte(text, ':')
	if colon < 0 {
		return t, errors.New("it needs a port: write name:port")
	}
	host := text[:colon]
	if t.Port, err = parsePort(text[colon+1:]); err != nil {
		return t, err
	}
	inner, bracketed := strings.CutPrefix(host, "[")
	if bracketed {
		inner, bracketed = strings.CutSuffix(inner, "]")
	}
	if address, err := netip.ParseAddr(inner); err == nil {
		if address.Is6() != bracketed {
			return t, errors.New("an IPv6 address stands in brackets, and nothing else does")
		}
		t.Address = address
		return t, checkAddress(address)
	}
	host, t.Below = strings.CutPrefix(host, "*.")
	t.Name, err = ParseName(host)
	if err == nil && (t.Name == "localhost" || strings.HasSuffix(t.Name, ".localhost")) {
		err = errors.New("localhost is the sandbox itself")
	}
	return t, err
}

func parsePort(text string) (uint16, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	switch {
	case err != nil || port == 0 || text[0] == '0':
		return 0, fmt.Errorf("port %.20q is not a number from 1 to 65535", text)
	case port == dnsPort:
		return 0, errors.New("port 53 is the sandbox's own name server, which resolves every allowed name")
	}
	return uint16(port), nil
}

const dnsPort = 53

// Synthetic is the range of the addresses that stand for names inside a sandbox.
// Outside it is for benchmarks only (RFC 2544).
func Synthetic() netip.Prefix { return netip.MustParsePrefix("198.18.0.0/15") }

// checkAddress refuses addresses that a sandbox can't mean: its own, and those
// that stand for names in it.
func checkAddress(a netip.Addr) error {
	switch {
	case a.Zone() != "":
		return errors.New("an address has no zone here")
	case a.Is4In6():
		return fmt.Errorf("write the address as %s", a.Unmap())
	case a.IsLoopback() || a.IsUnspecified():
		return errors.New("loopback addresses are the sandbox's own: give the service a name, allow the name, and put its address into private")
	case a.IsMulticast():
		return errors.New("a multicast address is nobody's")
	case Synthetic().Contains(a):
		return fmt.Errorf("addresses of %s stand for names inside a sandbox", Synthetic())
	}
	return nil
}

// ParseName checks a host name and returns it in lower case without a final dot.
// Names of other alphabets must be in their ASCII form.
func ParseName(text string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(text, "."))
	if len(name) > 253 {
		return "", errors.New("a name has at most 253 characters")
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if err := checkLabel(label); err != nil {
			return "", err
		}
	}
	// Programs read "0x7f.1" and "2130706433" as addresses.
	if last := labels[len(labels)-1]; last[0] >= '0' && last[0] <= '9' {
		return "", fmt.Errorf("the last part of a name can't begin with a digit, as %.63q does", last)
	}
	return name, nil
}

func checkLabel(label string) error {
	switch {
	case label == "":
		return errors.New("a name has no empty parts")
	case label == "*":
		return errors.New("a wildcard is the first part of a name, as in *.example.com")
	case len(label) > 63:
		return errors.New("a part of a name has at most 63 characters")
	case label[0] == '-' || label[len(label)-1] == '-':
		return errors.New("no part of a name begins or ends with a hyphen")
	}
	for _, c := range label {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return fmt.Errorf("a name has letters, digits, hyphens and underscores only, not %q", c)
		}
	}
	return nil
}

// MatchesName reports whether t allows a name, which must come from ParseName,
// at any port.
func (t Target) MatchesName(name string) bool {
	if t.Below {
		return strings.HasSuffix(name, "."+t.Name)
	}
	return t.Name != "" && name == t.Name
}

// ParsePrivate reads a range of addresses, such as 10.1.0.0/16, that are not
// public and that allowed names may have all the same.
func ParsePrivate(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return prefix, fmt.Errorf("private %.100q is not a range such as 10.1.0.0/16", text)
	case prefix != prefix.Masked():
		return prefix, fmt.Errorf("private %s has bits set behind its length: write %s", prefix, prefix.Masked())
	case prefix.Addr().Is4() && prefix.Bits() < 8, prefix.Bits() < 7, prefix.Addr().Is4In6():
		return prefix, fmt.Errorf("private %s is too wide: at most a /8, or fc00::/7", prefix)
	}
	return prefix, nil
}
