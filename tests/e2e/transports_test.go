package e2e_test

import (
	"bufio"
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
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority signs certificates for 127.0.0.1 and for clients.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	serial      int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	template := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	certificate, key := a.sign(t, template)
	a.certificate, a.key = certificate, key
	return a
}

// sign completes a template and signs it, or has it sign itself if it is the first.
func (a *authority) sign(t *testing.T, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	a.serial++
	template.SerialNumber, template.Subject = big.NewInt(a.serial), pkix.Name{CommonName: fmt.Sprint("test ", a.serial)}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, parentKey := a.certificate, a.key
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

// write signs a certificate and writes it and its key.
func (a *authority) write(t *testing.T, certPath, keyPath string) {
	t.Helper()
	certificate, key := a.sign(t, &x509.Certificate{})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err == nil {
		err = errors.Join(
			os.WriteFile(certPath, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}), 0o644),
			os.WriteFile(keyPath, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// client trusts the authority, and proves itself if asked to.
func (a *authority) client(t *testing.T, prove bool) *http.Client {
	t.Helper()
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AddCert(a.certificate)
	if prove {
		certificate, key := a.sign(t, &x509.Certificate{})
		config.Certificates = []tls.Certificate{{Certificate: [][]byte{certificate.Raw}, PrivateKey: key}}
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// request sends a request with a key and returns the response, to be closed.
func (g *gateway) request(t *testing.T, client *http.Client, method, url, body string, header ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+g.addresses.Key)
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return response
}

// listed lists the server's tools by Streamable HTTP.
func (g *gateway) listed(t *testing.T, client *http.Client, address string) (status int, text string) {
	t.Helper()
	response := g.request(t, client, "POST", address+"/servers/test/mcp",
		`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"test","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`,
		"Content-Type: application/json", "Accept: application/json, text/event-stream", "MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/list")
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// upgraded reports what the offer of a WebSocket is answered with.
func (g *gateway) upgraded(t *testing.T, client *http.Client, address string) (status int, subprotocol string) {
	t.Helper()
	if host, isWebSocket := strings.CutPrefix(address, "ws"); isWebSocket {
		address = "http" + host
	}
	h1 := client.Transport.(*http.Transport).Clone()
	h1.ForceAttemptHTTP2 = false
	if h1.TLSClientConfig != nil {
		h1.TLSClientConfig.NextProtos = []string{"http/1.1"}
	}
	t.Cleanup(h1.CloseIdleConnections)
	response := g.request(t, &http.Client{Transport: h1}, "GET", address+"/servers/test/ws", "",
		"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: mcp")
	defer response.Body.Close()
	return response.StatusCode, response.Header.Get("Sec-WebSocket-Protocol")
}

// streamed reports what the stream of HTTP+SSE begins with.
func (g *gateway) streamed(t *testing.T, client *http.Client, address string) (status int, first string) {
	t.Helper()
	response := g.request(t, client, "GET", address+"/servers/test/sse", "", "Accept: text/event-stream")
	defer response.Body.Close()
	first, err := bufio.NewReader(response.Body).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return response.StatusCode, strings.TrimSpace(first)
}

// healthy asks gRPC's health service, with the bytes of an empty message.
func (g *gateway) healthy(t *testing.T, client *http.Client, address string) (status string) {
	t.Helper()
	response := g.request(t, client, "POST", address+"/grpc.health.v1.Health/Check", "\x00\x00\x00\x00\x00", "Content-Type: application/grpc", "Te: trailers")
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	return response.Trailer.Get("Grpc-Status")
}

// TestAllTransports has every transport on, two of them where HTTP is, and TLS.
func TestAllTransports(t *testing.T) {
	t.Parallel()
	ca, dir := newAuthority(t), folder(t)
	cert, key, clients := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "clients.pem")
	ca.write(t, cert, key)
	if err := os.WriteFile(clients, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.certificate.Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	files := fmt.Sprintf("cert_file: %q, key_file: %q", cert, key)
	g := start(t, fmt.Sprintf("transports: {http: {tls: {%s}}, grpc: {enabled: true, tls: {%[1]s, client_ca_file: %q}}, websocket: {enabled: true}, sse: {enabled: true}}\n", files, clients),
		servers(testserver("test")))
	a := g.addresses
	at := strings.TrimPrefix(a.HTTP, "https://")
	if a.HTTP == at || a.WebSocket != "wss://"+at || a.SSE != a.HTTP || a.GRPC == "" || a.GRPC == at || a.Admin == "" {
		t.Fatalf("addresses: got %+v, want one for each transport, with TLS, two of them HTTP's", a)
	}

	client := ca.client(t, false)
	if status, text := g.listed(t, client, a.HTTP); status != http.StatusOK || !strings.Contains(text, `"name":"echo"`) {
		t.Errorf("http: got %d %s, want the server's tools", status, text)
	}
	if status, protocol := g.upgraded(t, client, a.WebSocket); status != http.StatusSwitchingProtocols || protocol != "mcp" {
		t.Errorf("websocket: got %d %q, want 101 mcp", status, protocol)
	}
	if status, first := g.streamed(t, client, a.SSE); status != http.StatusOK || first != "event: endpoint" {
		t.Errorf("sse: got %d %q, want 200 and the endpoint", status, first)
	}
	if got := g.healthy(t, ca.client(t, true), "https://"+a.GRPC); got != "0" {
		t.Errorf("grpc: got status %q, want 0", got)
	}
	r, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+a.GRPC, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := client.Do(r); err == nil {
		response.Body.Close()
		t.Errorf("grpc without a client's certificate: got %s, want no connection", response.Status)
	}

	serial := func() *big.Int {
		t.Helper()
		conn, err := tls.Dial("tcp", at, client.Transport.(*http.Transport).TLSClientConfig)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber
	}
	before := serial()
	ca.write(t, cert, key)
	g.cli(t, "reload")
	if after := serial(); after.Cmp(before) == 0 {
		t.Errorf("after a renewal: got the certificate %s again", after)
	}
	if err := os.WriteFile(key, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text := g.refusedReload(t); !strings.Contains(text, "transports.") || !strings.Contains(text, "certificate and key") {
		t.Errorf("reload with a bad key: got %s", text)
	}
	if after := serial(); after.Cmp(before) == 0 {
		t.Error("after a reload that failed: got the first certificate")
	}
}

// TestTransportsOfTheirOwn has WebSocket and HTTP+SSE on listeners of their own, which
// serve nothing else, without HTTP.
func TestTransportsOfTheirOwn(t *testing.T) {
	t.Parallel()
	g := start(t, "transports: {http: {enabled: false}, grpc: {enabled: true}, websocket: {enabled: true}, sse: {enabled: true}}\n", servers(testserver("test")))
	a := g.addresses
	if a.HTTP != "" || !strings.HasPrefix(a.WebSocket, "ws://127.0.0.1:") || !strings.HasPrefix(a.SSE, "http://127.0.0.1:") || !strings.HasPrefix(a.GRPC, "127.0.0.1:") {
		t.Fatalf("addresses: got %+v, want all but HTTP's", a)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	if status, protocol := g.upgraded(t, client, a.WebSocket); status != http.StatusSwitchingProtocols || protocol != "mcp" {
		t.Errorf("websocket: got %d %q, want 101 mcp", status, protocol)
	}
	if status, first := g.streamed(t, client, a.SSE); status != http.StatusOK || first != "event: endpoint" {
		t.Errorf("sse: got %d %q, want 200 and the endpoint", status, first)
	}
	overHTTP2 := &http.Transport{Protocols: new(http.Protocols)}
	overHTTP2.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(overHTTP2.CloseIdleConnections)
	if got := g.healthy(t, &http.Client{Transport: overHTTP2}, "http://"+a.GRPC); got != "0" {
		t.Errorf("grpc: got status %q, want 0", got)
	}

	webSocket := "http" + strings.TrimPrefix(a.WebSocket, "ws")
	if status, _ := g.listed(t, client, webSocket); status != http.StatusNotFound {
		t.Errorf("http where WebSocket is: got %d, want 404", status)
	}
	if status, _ := g.streamed(t, client, webSocket); status != http.StatusNotFound {
		t.Errorf("sse where WebSocket is: got %d, want 404", status)
	}
	if status, _ := g.upgraded(t, client, a.SSE); status != http.StatusNotFound {
		t.Errorf("websocket where HTTP+SSE is: got %d, want 404", status)
	}
}

// TestTransportsThatAreOff has HTTP alone, as is the default.
func TestTransportsThatAreOff(t *testing.T) {
	t.Parallel()
	g := start(t, servers(testserver("test")))
	a := g.addresses
	if a.GRPC+a.WebSocket+a.SSE != "" {
		t.Errorf("addresses: got %+v, want HTTP's alone", a)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	if status, _ := g.upgraded(t, client, a.HTTP); status != http.StatusNotFound {
		t.Errorf("websocket: got %d, want 404", status)
	}
	if status, _ := g.streamed(t, client, a.HTTP); status != http.StatusNotFound {
		t.Errorf("sse: got %d, want 404", status)
	}
}
