package mirror

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mcpgateway/policy"
)

const line = `{"seq":7,"prev":"00","event":"de\"n]ied","decision":"deny","name":"a\nb","hash":"ab"}`

func logger(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func TestSyslogMessage(t *testing.T) {
	t.Parallel()
	got := string(appendSyslog(nil, []byte(line), 10, "host", 42, time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)))
	want := `<85>1 2026-01-02T03:04:05.000006Z host mcp-gateway 42 de"n]ied [audit@32473 seq="7" event="de\"n\]ied" hash="ab"] ` + line
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := printable("a b\n\x7fé", 6); got != "a_b___" {
		t.Errorf("got %q", got)
	}
}

func TestDatagrams(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	for _, tt := range []struct {
		name, network, address string
		start                  func(address string) *Mirror
		want                   string
	}{
		{"unix", "unixgram", path, func(a string) *Mirror {
			return Syslog(&policy.Syslog{Network: "unixgram", Address: a, Facility: 16}, logger(t))
		}, "<133>1 "},
		{"udp", "udp", "127.0.0.1:0", func(a string) *Mirror {
			return Syslog(&policy.Syslog{Network: "udp", Address: a, Facility: 16}, logger(t))
		}, "<133>1 "},
		{"journal", "unixgram", path + "j", func(a string) *Mirror { return Journal(a, logger(t)) },
			"MESSAGE=" + line + "\nPRIORITY=5\nSYSLOG_IDENTIFIER=mcp-gateway-audit\nMCPGW_DECISION=deny\nMCPGW_EVENT=de\"n]ied\nMCPGW_HASH=ab\n" +
				"MCPGW_NAME\n\x03\x00\x00\x00\x00\x00\x00\x00a\nb\nMCPGW_PREV=00\nMCPGW_SEQ=7\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server, err := net.ListenPacket(tt.network, tt.address)
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			m := tt.start(server.LocalAddr().String())
			m.Offer([]byte(line))
			m.Close() // sends it
			packet := make([]byte, 64<<10)
			_ = server.SetReadDeadline(time.Now().Add(10 * time.Second))
			n, _, err := server.ReadFrom(packet)
			if err != nil || !strings.HasPrefix(string(packet[:n]), tt.want) {
				t.Errorf("got %q, %v, want %q", packet[:n], err, tt.want)
			}
		})
	}
}

// certificate makes a server's certificate for 127.0.0.1.
func certificate(t *testing.T) (tls.Certificate, []byte) {
	t.Helper()
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// received reads messages that have their length before them.
func received(conn io.Reader, n int) (messages []string, err error) {
	in := bufio.NewReader(conn)
	for range n {
		var length int
		if _, err := fmt.Fscanf(in, "%d ", &length); err != nil {
			return messages, err
		}
		message := make([]byte, length)
		if _, err := io.ReadFull(in, message); err != nil {
			return messages, err
		}
		messages = append(messages, string(message))
	}
	return messages, nil
}

func TestStreams(t *testing.T) {
	t.Parallel()
	cert, ca := certificate(t)
	_, otherCA := certificate(t)
	for _, tt := range []struct {
		name   string
		secure bool
		ca     []byte
		want   int
	}{{"tcp", false, nil, 2}, {"tls", true, ca, 2}, {"another authority", true, otherCA, 0}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			target := &policy.Syslog{Network: "tcp", Address: server.Addr().String(), Facility: 1, TLS: tt.secure, RootCAs: tt.ca}
			if tt.secure {
				server = tls.NewListener(server, &tls.Config{Certificates: []tls.Certificate{cert}})
			}
			if err := Check(target); err != nil {
				t.Fatal(err)
			}
			got := make(chan []string, 1)
			go func() {
				conn, err := server.Accept()
				if err != nil {
					got <- nil
					return
				}
				defer conn.Close()
				messages, _ := received(conn, 2)
				got <- messages
			}()
			m := Syslog(target, logger(t))
			m.Offer([]byte(line))
			m.Offer([]byte(`{"seq":8}`))
			if messages := <-got; len(messages) != tt.want || tt.want > 0 && !strings.HasSuffix(messages[1], `{"seq":8}`) {
				t.Errorf("got %q, want %d", messages, tt.want)
			}
			m.Close()
			if lost := m.lost.Load(); int(lost) != 2-tt.want {
				t.Errorf("got %d lost, want %d", lost, 2-tt.want)
			}
		})
	}
}

// TestNobodyListens: a record that can't be sent makes nobody wait.
func TestNobodyListens(t *testing.T) {
	t.Parallel()
	m := Journal(filepath.Join(t.TempDir(), "none"), logger(t))
	const n = 3 * maxQueue
	for range n {
		m.Offer([]byte(line))
	}
	m.Close()
	if lost := m.lost.Load(); lost != n {
		t.Errorf("got %d lost, want %d", lost, n)
	}
}
