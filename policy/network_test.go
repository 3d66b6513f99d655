package policy

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseTarget(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		want Target
		err  string // part of the error
	}{
		{text: "api.example.com:443", want: Target{Name: "api.example.com", Port: 443}},
		{text: "API.Example.COM.:443", want: Target{Name: "api.example.com", Port: 443}},
		{text: "*.example.com:8443", want: Target{Name: "example.com", Below: true, Port: 8443}},
		{text: "db:5432", want: Target{Name: "db", Port: 5432}},
		{text: "_srv.x_y.example:65535", want: Target{Name: "_srv.x_y.example", Port: 65535}},
		{text: "xn--bcher-kva.example:443", want: Target{Name: "xn--bcher-kva.example", Port: 443}},
		{text: "10.1.2.3:5432", want: Target{Address: netip.MustParseAddr("10.1.2.3"), Port: 5432}},
		{text: "169.254.169.254:80", want: Target{Address: netip.MustParseAddr("169.254.169.254"), Port: 80}},
		{text: "[2001:db8::1]:443", want: Target{Address: netip.MustParseAddr("2001:db8::1"), Port: 443}},

		{text: "", err: "needs a port"},
		{text: "example.com", err: "needs a port"},
		{text: "example.com:", err: `port ""`},
		{text: "example.com:0", err: `port "0"`},
		{text: "example.com:0443", err: `port "0443"`},
		{text: "example.com:+443", err: `port "+443"`},
		{text: "example.com:65536", err: `port "65536"`},
		{text: "example.com:https", err: `port "https"`},
		{text: "example.com:53", err: "name server"},
		{text: ":443", err: "empty parts"},
		{text: "*:443", err: "wildcard"},
		{text: "*.*.example.com:443", err: "wildcard"},
		{text: "a.*.example.com:443", err: "wildcard"},
		{text: "*a.example.com:443", err: "not '*'"},
		{text: "a..example.com:443", err: "empty parts"},
		{text: "example.com..:443", err: "empty parts"},
		{text: "-a.example.com:443", err: "hyphen"},
		{text: "bücher.example:443", err: "not 'ü'"},
		{text: "https://example.com:443", err: "not ':'"},
		{text: "example.com/path:443", err: "not '/'"},
		{text: `a\.example.com:443`, err: `not '\\'`},
		{text: "a b:443", err: "not ' '"},
		{text: strings.Repeat("a", 64) + ".com:443", err: "63 characters"},
		{text: strings.Repeat("a.", 127) + "com:443", err: "253 characters"},
		{text: "1.2.3:443", err: "begin with a digit"},
		{text: "1.2.3.4.5:443", err: "begin with a digit"},
		{text: "0x7f000001:443", err: "begin with a digit"},
		{text: "2130706433:443", err: "begin with a digit"},
		{text: "*.10.1.2.3:443", err: "begin with a digit"},
		{text: "localhost:443", err: "sandbox itself"},
		{text: "*.localhost:443", err: "sandbox itself"},
		{text: "a.localhost:443", err: "sandbox itself"},
		{text: "127.1.2.3:443", err: "sandbox's own"},
		{text: "[::1]:443", err: "sandbox's own"},
		{text: "0.0.0.0:443", err: "sandbox's own"},
		{text: "[::]:443", err: "sandbox's own"},
		{text: "224.0.0.1:443", err: "multicast"},
		{text: "198.19.0.1:443", err: "stand for names"},
		{text: "[::ffff:10.0.0.1]:443", err: "write the address as 10.0.0.1"},
		{text: "[fe80::1%eth0]:443", err: "zone"},
		{text: "[10.0.0.1]:443", err: "brackets"},
		{text: "2001:db8::1:443", err: "brackets"},
		{text: "[example.com]:443", err: "not '['"},
		{text: "[2001:db8::1:443", err: "brackets"},
	}
	for _, tt := range tests {
		got, err := ParseTarget(tt.text)
		switch {
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%q: got %+v, %v, want an error with %q", tt.text, got, err, tt.err)
		case tt.err == "" && (err != nil || got != tt.want):
			t.Errorf("%q: got %+v, %v, want %+v", tt.text, got, err, tt.want)
		}
	}
}

func TestMatchesName(t *testing.T) {
	t.Parallel()
	tests := []struct {
		target, name string
		want         bool
	}{
		{"example.com:443", "example.com", true},
		{"example.com:443", "a.example.com", false},
		{"example.com:443", "example.com.evil", false},
		{"*.example.com:443", "a.example.com", true},
		{"*.example.com:443", "b.a.example.com", true},
		{"*.example.com:443", "example.com", false},
		{"*.example.com:443", "evilexample.com", false},
		{"10.0.0.1:443", "example.com", false},
		{"10.0.0.1:443", "", false},
	}
	for _, tt := range tests {
		target, err := ParseTarget(tt.target)
		if err != nil {
			t.Fatal(err)
		}
		if got := target.MatchesName(tt.name); got != tt.want {
			t.Errorf("%s and %q: got %v", tt.target, tt.name, got)
		}
	}
}

func TestParsePrivate(t *testing.T) {
	t.Parallel()
	for text, problem := range map[string]string{
		"10.0.0.0/8": "", "10.1.2.3/32": "", "127.0.0.0/8": "", "fc00::/7": "", "::1/128": "",
		"10.1.2.3": "not a range", "10.1.2.3/8": "write 10.0.0.0/8", "0.0.0.0/0": "too wide", "::/0": "too wide",
		"8.0.0.0/7": "too wide", "c000::/2": "too wide", "::ffff:10.0.0.0/104": "too wide", "example.com/8": "not a range", "": "not a range",
	} {
		_, err := ParsePrivate(text)
		if (err != nil) != (problem != "") || err != nil && !strings.Contains(err.Error(), problem) {
			t.Errorf("%q: got %v, want %q", text, err, problem)
		}
	}
}
