package egress

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"mcpgateway/policy"
)

// TestMain sees that no goroutine is left of anything.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// records is what a sandbox did, in order.
type records struct {
	mu   sync.Mutex
	list []Record
	more chan struct{} // holds a token if there may be new ones
}

func (r *records) add(record Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, record)
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// next waits for a record.
func (r *records) next(t testing.TB) Record {
	t.Helper()
	for {
		r.mu.Lock()
		if len(r.list) > 0 {
			record := r.list[0]
			r.list = r.list[1:]
			r.mu.Unlock()
			return record
		}
		r.mu.Unlock()
		select {
		case <-r.more:
		case <-t.Context().Done():
			t.Fatal("no record")
		}
	}
}

func (r *records) none(t testing.TB) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) > 0 {
		t.Errorf("records that nobody expected: %+v", r.list)
	}
}

func newRecords() *records { return &records{more: make(chan struct{}, 1)} }

// inside is a sandbox's end of a running Serve.
type inside struct {
	*records
	udp, dns, listener string // addresses
}

// outsideNames is a real name server on loopback: names to what each query gets,
// the last for ever. Names have no final dot.
func outsideNames(t testing.TB, answers map[string][]string) *net.Resolver {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	asked := map[string]int{}
	server := &dns.Server{PacketConn: socket, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, query *dns.Msg) {
		reply := new(dns.Msg).SetReply(query)
		question := query.Question[0]
		name := strings.TrimSuffix(question.Name, ".")
		mu.Lock()
		defer mu.Unlock()
		list, known := answers[name]
		if !known {
			reply.Rcode = dns.RcodeNameError
		}
		if known && question.Qtype == dns.TypeA {
			turn := list[min(asked[name], len(list)-1)]
			asked[name]++
			for text := range strings.FieldsSeq(turn) {
				reply.Answer = append(reply.Answer, &dns.A{
					Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET},
					A:   netip.MustParseAddr(text).AsSlice(),
				})
			}
		}
		if err := w.WriteMsg(reply); err != nil {
			t.Error(err)
		}
	})}
	var running sync.WaitGroup
	running.Go(func() { _ = server.ActivateAndServe() })
	t.Cleanup(func() { socket.Close(); running.Wait() })
	address := socket.LocalAddr().String()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", address)
	}}
}

// open gives the descriptors of sockets on loopback, as the daemon gives those
// inside a namespace.
func open(t testing.TB) (files []*os.File, addresses []string) {
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
	files, addresses = append(files, file), append(addresses, udp.LocalAddr().String())
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
		files, addresses = append(files, file), append(addresses, tcp.Addr().String())
	}
	return files, addresses
}

// serve runs Serve until the test's end.
func serve(t *testing.T, n policy.Network) inside {
	t.Helper()
	files, addresses := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	records := newRecords()
	ended := make(chan error, 1)
	i := Instance{Server: "files", Project: "team", Sandbox: "files-1", Rules: mustRules(t, n), Record: records.add}
	go func() { ended <- Serve(ctx, i, files) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		for _, f := range files {
			if f.Close() == nil {
				t.Error("a descriptor was left open")
			}
		}
	})
	return inside{records: records, udp: addresses[0], dns: addresses[1], listener: addresses[2]}
}

func TestServeRefusesOtherDescriptors(t *testing.T) {
	t.Parallel()
	pipe := func() *os.File {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
		return r
	}
	files, _ := open(t)
	more, _ := open(t)
	others, _ := open(t)
	for name, list := range map[string][]*os.File{
		"none":                  nil,
		"name server alone":     {files[0], files[1]},
		"no socket":             {pipe(), files[2], pipe()},
		"UDP as listener":       {more[0], more[1], others[0]},
		"listener as UDP first": {more[2], others[1], others[2]},
	} {
		err := Serve(t.Context(), Instance{Sandbox: "files-1", Rules: mustRules(t, policy.Network{})}, list)
		if err == nil || !strings.Contains(err.Error(), `"files-1"`) {
			t.Errorf("%s: got %v", name, err)
		}
		for _, f := range list {
			if f.Close() == nil {
				t.Errorf("%s: a descriptor was left open", name)
			}
		}
	}
}
