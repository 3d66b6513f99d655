package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"mcpgateway/policy"
)

func ask(t *testing.T, network, server, name string, kind uint16) *dns.Msg {
	t.Helper()
	query := new(dns.Msg).SetQuestion(name, kind)
	query.SetEdns0(4096, true)
	reply, _, err := (&dns.Client{Net: network}).ExchangeContext(t.Context(), query, server)
	if err != nil {
		t.Fatalf("%s %s over %s: %v", name, dns.TypeToString[kind], network, err)
	}
	if !reply.RecursionAvailable || reply.IsEdns0() == nil || reply.Question[0].Name != name {
		t.Errorf("%s: the reply has no RA, no EDNS, or another question: %v", name, reply)
	}
	return reply
}

func TestNameServer(t *testing.T) {
	t.Parallel()
	in := serve(t, policy.Network{Allow: []string{"api.example.com:443", "*.cdn.example:443", "192.0.2.1:80"}})
	tests := []struct {
		name   string
		kind   uint16
		rcode  int
		answer bool
	}{
		{"api.example.com.", dns.TypeA, dns.RcodeSuccess, true},
		{"aPi.eXample.cOm.", dns.TypeA, dns.RcodeSuccess, true},
		{"api.example.com.", dns.TypeAAAA, dns.RcodeSuccess, false},
		{"api.example.com.", dns.TypeHTTPS, dns.RcodeSuccess, false},
		{"api.example.com.", dns.TypeANY, dns.RcodeSuccess, false},
		{"a.b.cdn.example.", dns.TypeA, dns.RcodeSuccess, true},
		{"cdn.example.", dns.TypeA, dns.RcodeNameError, false},
		{"example.com.", dns.TypeA, dns.RcodeNameError, false},
		{"evil.example.", dns.TypeA, dns.RcodeNameError, false},
		{"evil.example.", dns.TypeAAAA, dns.RcodeNameError, false},
		{`x\.cdn.example.`, dns.TypeA, dns.RcodeNameError, false},
		{`\000.cdn.example.`, dns.TypeA, dns.RcodeNameError, false},
		{"192.0.2.1.", dns.TypeA, dns.RcodeNameError, false},
		{".", dns.TypeA, dns.RcodeNameError, false},
		{"1.2.0.192.in-addr.arpa.", dns.TypePTR, dns.RcodeNameError, false},
	}
	addresses := map[string]string{}
	for _, tt := range tests {
		for network, server := range map[string]string{"udp": in.udp, "tcp": in.dns} {
			reply := ask(t, network, server, tt.name, tt.kind)
			if reply.Rcode != tt.rcode || (len(reply.Answer) == 1) != tt.answer {
				t.Errorf("%s %s over %s: got %v", tt.name, dns.TypeToString[tt.kind], network, reply)
			}
			if !tt.answer {
				continue
			}
			a := reply.Answer[0].(*dns.A)
			if a.Hdr.Name != tt.name {
				t.Errorf("%s: the answer is about %s", tt.name, a.Hdr.Name)
			}
			name := strings.ToLower(tt.name)
			if before, known := addresses[name]; known && before != a.A.String() {
				t.Errorf("%s has %s and %s", name, before, a.A)
			}
			addresses[name] = a.A.String()
		}
	}
	if addresses["api.example.com."] == addresses["a.b.cdn.example."] {
		t.Error("two names have one address")
	}
}

// TestGoResolver asks as a program in Go does.
func TestGoResolver(t *testing.T) {
	t.Parallel()
	in := serve(t, policy.Network{Allow: []string{"api.example.com:443"}})
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		server := in.udp
		if network == "tcp" {
			server = in.dns
		}
		return new(net.Dialer).DialContext(ctx, network, server)
	}}
	found, err := resolver.LookupNetIP(t.Context(), "ip", "api.example.com")
	if err != nil || len(found) != 1 || !policy.Synthetic().Contains(found[0].Unmap()) {
		t.Errorf("got %v, %v", found, err)
	}
	var missing *net.DNSError
	if _, err := resolver.LookupNetIP(t.Context(), "ip", "other.example.com"); !errors.As(err, &missing) || !missing.IsNotFound {
		t.Errorf("got %v, want that there is no such host", err)
	}
}

// TestRefusedNamesAreRecorded: once each, whatever the case and the type.
func TestRefusedNamesAreRecorded(t *testing.T) {
	t.Parallel()
	in := serve(t, policy.Network{Allow: []string{"api.example.com:443"}})
	for _, name := range []string{"evil.example.", "EVIL.example.", "bad\x1b[31m\n.example."} {
		ask(t, "udp", in.udp, strings.NewReplacer("\x1b", `\027`, "\n", `\010`).Replace(name), dns.TypeA)
		ask(t, "udp", in.udp, "evil.example.", dns.TypeAAAA)
	}
	want := Record{
		Server: "files", Project: "team", Sandbox: "files-1", Name: "evil.example", Port: 53,
		Verdict: Refused, Reason: "evil.example is not in the profile's network.allow",
	}
	if got := in.next(t); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := in.next(t); strings.ContainsAny(got.Name+got.Reason, "\x1b\n") || !strings.Contains(got.Reason, "bad") {
		t.Errorf("got %+v", got)
	}
	in.none(t)
}

func TestRefusalsAreBounded(t *testing.T) {
	t.Parallel()
	records := newRecords()
	e := newEgress(Instance{Rules: mustRules(t, policy.Network{}), Record: records.add})
	const all = 10 * refusalsAtOnce
	for i := range all {
		e.refuseName(fmt.Sprintf("%d.%s.example.", i, strings.Repeat("x.", 100)))
	}
	// The limiter lets a few more through if this took long.
	kept := len(records.list)
	if kept < refusalsAtOnce || kept > all/2 {
		t.Fatalf("%d of %d refusals have records", kept, all)
	}
	last := records.list[kept-1]
	if total := last.Suppressed + e.refusals.suppressed; kept == refusalsAtOnce && total != all-kept {
		t.Errorf("%d refusals are counted, want %d", total, all-kept)
	}
	for _, r := range records.list {
		if len(r.Name) > maxText+10 {
			t.Errorf("a name of %d bytes", len(r.Name))
		}
	}
	if len(e.refusals.names) > maxRepeats {
		t.Errorf("%d names are remembered", len(e.refusals.names))
	}
}

// packet is a query as bytes.
func packet(t testing.TB, change func(*dns.Msg)) []byte {
	t.Helper()
	query := new(dns.Msg).SetQuestion("api.example.com.", dns.TypeA)
	query.Id = 7
	change(query)
	packed, err := query.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

func TestOddPackets(t *testing.T) {
	t.Parallel()
	e := newEgress(Instance{Rules: mustRules(t, policy.Network{Allow: []string{"api.example.com:443"}}), Record: func(Record) {}})
	whole := packet(t, func(*dns.Msg) {})
	tests := []struct {
		name   string
		packet []byte
		rcode  int // -1: no reply
	}{
		{"query", whole, dns.RcodeSuccess},
		{"empty", nil, -1},
		{"half a header", whole[:11], -1},
		{"reply", packet(t, func(m *dns.Msg) { m.Response = true }), -1},
		{"cut", whole[:len(whole)-3], dns.RcodeFormatError},
		{"header only", whole[:12], dns.RcodeFormatError},
		{"no question", packet(t, func(m *dns.Msg) { m.Question = nil }), dns.RcodeFormatError},
		{"two questions", packet(t, func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), dns.RcodeFormatError},
		{"too long", slices.Concat(whole, make([]byte, maxQuery)), dns.RcodeFormatError},
		{"update", packet(t, func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), dns.RcodeNotImplemented},
		{"chaos", packet(t, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), dns.RcodeRefused},
		{"loop of pointers", slices.Concat(whole[:12], []byte{0xc0, 12, 0, 1, 0, 1}), dns.RcodeFormatError},
	}
	for _, tt := range tests {
		reply := e.answer(tt.packet)
		if reply == nil || tt.rcode == -1 {
			if reply != nil || tt.rcode != -1 {
				t.Errorf("%s: got %x", tt.name, reply)
			}
			continue
		}
		var got dns.Msg
		if err := got.Unpack(reply); err != nil || got.Rcode != tt.rcode || got.Id != 7 || !got.Response {
			t.Errorf("%s: got %v, %v", tt.name, got, err)
		}
	}
}

// FuzzAnswer: whatever a server sends, the reply is one, and has an address only
// for an allowed name.
func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"api.example.com.", "x.cdn.example.", "evil.example.", "."} {
		f.Add(packet(f, func(m *dns.Msg) { m.Question[0].Name = name; m.SetEdns0(4096, true) }))
	}
	f.Add(packet(f, func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }))
	e := newEgress(Instance{
		Rules:  mustRules(f, policy.Network{Allow: []string{"api.example.com:443", "*.cdn.example:443"}}),
		Record: func(Record) {},
	})
	f.Fuzz(func(t *testing.T, query []byte) {
		packed := e.answer(query)
		if packed == nil {
			return
		}
		var reply dns.Msg
		if err := reply.Unpack(packed); err != nil {
			t.Fatalf("the reply %x can't be read: %v", packed, err)
		}
		if !reply.Response || reply.Id != uint16(query[0])<<8|uint16(query[1]) || len(packed) > 512 {
			t.Fatalf("got %v", reply)
		}
		for _, rr := range reply.Answer {
			a := rr.(*dns.A)
			name := strings.TrimSuffix(strings.ToLower(a.Hdr.Name), ".")
			address, _ := netip.AddrFromSlice(a.A.To4())
			if meant, _ := e.names.name(address); meant != name || name != "api.example.com" && !strings.HasSuffix(name, ".cdn.example") {
				t.Fatalf("%s has %s, which stands for %q", name, address, meant)
			}
		}
	})
}

// TestNameServerConnectionsAreBounded: more are reset, and one that says nothing
// keeps nobody out for long.
func TestNameServerConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	in := serve(t, policy.Network{Allow: []string{"api.example.com:443"}})
	var open []net.Conn
	for range maxNameConns {
		conn, err := net.Dial("tcp", in.dns)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		open = append(open, conn)
		// An answer proves that the connection was admitted.
		stream := &dns.Conn{Conn: conn}
		if err := stream.WriteMsg(new(dns.Msg).SetQuestion("api.example.com.", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.ReadMsg(); err != nil {
			t.Fatal(err)
		}
	}
	wantReset(t, in.dns)
	open[0].Close()
	for { // as soon as its end has been seen
		query := new(dns.Msg).SetQuestion("api.example.com.", dns.TypeA)
		if _, _, err := (&dns.Client{Net: "tcp"}).ExchangeContext(t.Context(), query, in.dns); err == nil {
			return
		}
	}
}
