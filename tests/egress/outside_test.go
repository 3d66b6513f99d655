package egress_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mcpgateway/policy"
	"mcpgateway/proxy/egress"
)

// publicAddress is one of somebody's, which has a server of the test's here.
const publicAddress = "93.184.216.34"

// outsideNames are the names that exist, and what each query gets, the last for
// ever.
func outsideNames() map[string][]string {
	return map[string][]string{
		"good.example":     {publicAddress},
		"a.b.wild.example": {publicAddress},
		"alt.example":      {publicAddress},
		"six.example":      {"2606:2800:220:1::1"},
		"loop.example":     {"127.0.0.1"},
		"private.example":  {"10.0.0.5"},
		"metadata.example": {"169.254.169.254"},
		"mapped.example":   {"::ffff:10.0.0.5"},
		"rebound.example":  {publicAddress, "10.0.0.5"},
		"evil.example":     {publicAddress},

		"gone.wild.example.search.example": {publicAddress},
	}
}

// outside is the machine around the sandbox. It is made once, by the first test.
var outside = sync.OnceValues(makeOutside)

// makeOutside configures the namespaces that the tests run in, and returns the
// file of the certificate authority of its servers. It lives as long as the
// process.
func makeOutside() (ca string, err error) {
	folder := os.Getenv(outsideVariable)
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return "", err
	}
	// Outside and inside have the same files; the name server at this address is
	// another.
	for path, content := range map[string]string{
		"/etc/resolv.conf":   "nameserver 127.0.0.1\nsearch search.example\n",
		"/etc/hosts":         "127.0.0.1 localhost\n::1 localhost\n",
		"/etc/nsswitch.conf": "hosts: files dns\n",
	} {
		own := filepath.Join(folder, filepath.Base(path))
		if err := errors.Join(os.WriteFile(own, []byte(content), 0o600), unix.Mount(own, path, "", unix.MS_BIND, "")); err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
	}
	if err := setUp(publicAddress, "2606:2800:220:1::1", "10.0.0.5", "169.254.169.254", "198.51.100.7", "2001:db8::7"); err != nil {
		return "", err
	}
	if err := serveNames(); err != nil {
		return "", err
	}
	ca = filepath.Join(folder, "ca.pem")
	return ca, serveWeb(ca)
}

// setUp brings up the loopback device of the thread's network namespace, with
// addresses.
func setUp(addresses ...string) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	for _, text := range addresses {
		a := netip.MustParseAddr(text)
		network := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
		if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: network, Flags: unix.IFA_F_NODAD}); err != nil {
			return fmt.Errorf("add %s: %w", text, err)
		}
	}
	return nil
}

func serveNames() error {
	socket, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		return err
	}
	var mu sync.Mutex
	asked, names := map[string]int{}, outsideNames()
	server := &dns.Server{PacketConn: socket, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, query *dns.Msg) {
		reply := new(dns.Msg).SetReply(query)
		question := query.Question[0]
		mu.Lock()
		defer mu.Unlock()
		list, known := names[strings.TrimSuffix(question.Name, ".")]
		if !known {
			reply.Rcode = dns.RcodeNameError
			_ = w.WriteMsg(reply)
			return
		}
		a := netip.MustParseAddr(list[min(asked[question.Name], len(list)-1)])
		header := dns.RR_Header{Name: question.Name, Rrtype: question.Qtype, Class: dns.ClassINET}
		switch {
		case question.Qtype == dns.TypeA && a.Is4():
			asked[question.Name]++
			reply.Answer = []dns.RR{&dns.A{Hdr: header, A: a.AsSlice()}}
		case question.Qtype == dns.TypeAAAA && a.Is6():
			reply.Answer = []dns.RR{&dns.AAAA{Hdr: header, AAAA: a.AsSlice()}}
		}
		_ = w.WriteMsg(reply)
	})}
	go func() { _ = server.ActivateAndServe() }()
	return nil
}

// serveWeb serves on every address.
func serveWeb(ca string) error {
	certificate, err := newCertificate(ca)
	if err != nil {
		return err
	}
	handler := http.NewServeMux()
	handler.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello at ", r.Context().Value(http.LocalAddrContextKey))
	})
	handler.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // what is missing is missing in the answer
		_, _ = w.Write(body)
	})
	for _, address := range []string{":80", ":443", ":8443"} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}}}
		if address == ":80" {
			go func() { _ = server.Serve(listener) }()
		} else {
			go func() { _ = server.ServeTLS(listener, "", "") }()
		}
	}
	return nil
}

// newCertificate makes one for everything here, and an authority for it.
func newCertificate(ca string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"*.b.wild.example"},
		IPAddresses: []net.IP{net.ParseIP(publicAddress), net.ParseIP("10.0.0.5"), net.ParseIP("198.51.100.7")},
	}
	for name := range outsideNames() {
		server.DNSNames = append(server.DNSNames, name)
	}
	root, err := x509.CreateCertificate(rand.Reader, authority, authority, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.CreateCertificate(rand.Reader, server, authority, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	encoded := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root})
	return tls.Certificate{Certificate: [][]byte{leaf}, PrivateKey: key}, os.WriteFile(ca, encoded, 0o600)
}

// inside is a sandbox's network namespace, and what serves it.
type inside struct {
	thread  func(func()) // runs a function on a thread in the namespace
	ca      string
	records *records
	end     func()
}

// enter makes a sandbox's namespace as the daemon does, and serves it until the
// test ends.
func enter(t *testing.T, n policy.Network) *inside {
	t.Helper()
	ca, err := outside()
	if err != nil {
		t.Fatalf("make the outside (it needs root): %v", err)
	}
	rules, err := egress.NewRules(&n)
	if err != nil {
		t.Fatal(err)
	}
	in := &inside{ca: ca, records: &records{more: make(chan struct{}, 1)}, thread: newThread(t)}
	var files []*os.File
	in.thread(func() { files, err = openNetwork(n) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- egress.Serve(ctx, egress.Instance{Server: "test", Sandbox: "test-1", Rules: rules, Record: in.records.add}, files)
	}()
	in.end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(in.end)
	return in
}

// newThread returns what runs functions on one thread in a new namespace. The
// thread ends with the test, and the namespace with it.
func newThread(t *testing.T) func(func()) {
	t.Helper()
	work, done := make(chan func()), make(chan struct{})
	go func() {
		runtime.LockOSThread() // for ever: the thread is of no use to others
		for f := range work {
			f()
			done <- struct{}{}
		}
	}()
	run := func(f func()) { work <- f; <-done }
	t.Cleanup(func() { close(work) })
	var err error
	run(func() { err = unix.Unshare(unix.CLONE_NEWNET) })
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// openNetwork makes every address local, and opens what the proxy serves.
func openNetwork(n policy.Network) (files []*os.File, err error) {
	// An address that is not loopback's, or getaddrinfo(3) finds no IPv4 for
	// programs that ask with AI_ADDRCONFIG, as browsers do.
	if err := setUp("198.18.0.1"); err != nil {
		return nil, err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, err
	}
	for _, text := range []string{"0.0.0.0/0", "::/0"} {
		_, all, err := net.ParseCIDR(text)
		if err != nil {
			return nil, err
		}
		route := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: all, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST}
		if err := netlink.RouteAdd(route); err != nil {
			return nil, fmt.Errorf("route %s: %w", text, err)
		}
	}
	keep := func(socket interface {
		File() (*os.File, error)
		Close() error
	}) error {
		defer socket.Close()
		file, err := socket.File()
		files = append(files, file)
		return err
	}
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53})
	if err != nil {
		return nil, err
	}
	if err := keep(udp); err != nil {
		return nil, err
	}
	targets, err := egress.ParseTargets(n.Allow)
	if err != nil {
		return nil, err
	}
	// The real one has one listener for all ports; here one for each must do.
	ports := []uint16{80, 443}
	for _, target := range targets {
		ports = append(ports, target.Port)
	}
	slices.Sort(ports)
	addresses := []string{"127.0.0.1:53"}
	for _, port := range slices.Compact(ports) {
		addresses = append(addresses, fmt.Sprintf("[::]:%d", port))
	}
	for _, address := range addresses {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return nil, err
		}
		if err := keep(listener.(*net.TCPListener)); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// lookup asks the sandbox's name server.
func (in *inside) lookup(t *testing.T, name string) string {
	t.Helper()
	var reply *dns.Msg
	var err error
	in.thread(func() {
		var conn *dns.Conn
		if conn, err = dns.Dial("udp", "127.0.0.1:53"); err != nil {
			return
		}
		defer conn.Close()
		if err = conn.WriteMsg(new(dns.Msg).SetQuestion(name+".", dns.TypeA)); err == nil {
			reply, err = conn.ReadMsg()
		}
	})
	if err != nil || len(reply.Answer) != 1 {
		t.Fatalf("%s: got %v, %v", name, reply, err)
	}
	return reply.Answer[0].(*dns.A).A.String()
}

// records is what the sandbox did, in order.
type records struct {
	mu   sync.Mutex
	list []egress.Record
	more chan struct{} // holds a token if there may be new ones
}

func (r *records) add(record egress.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, record)
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// rest forgets what has come.
func (r *records) rest() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = nil
}

// next waits for a record.
func (r *records) next(t *testing.T) egress.Record {
	t.Helper()
	late := time.After(30 * time.Second)
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
		case <-late:
			t.Fatal("no record")
		}
	}
}
