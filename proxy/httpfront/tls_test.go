package httpfront

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"

	"mcpgateway/policy"
	"mcpgateway/proxy/proxytest"
)

func TestTLS(t *testing.T) {
	ca := proxytest.NewAuthority(t, "ca")
	g := newGateway(t, func(p *policy.Policy) {
		p.HTTP.TLS = ca.Sign("gateway")
		p.HTTP.TLS.ClientCA = ca.PEM
	})
	g.url = strings.Replace(g.url, "http:", "https:", 1)
	post := func(certificates ...tls.Certificate) (*http.Response, error) {
		transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: ca.Roots(), Certificates: certificates}}
		defer transport.CloseIdleConnections()
		return transport.RoundTrip(g.request("POST", "echo", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`))
	}
	if response, err := post(); err == nil {
		response.Body.Close()
		t.Errorf("without a certificate: got status %s", response.Status)
	}
	known := ca.Sign("known")
	certificate, err := tls.X509KeyPair(known.Certificate, known.Key)
	if err != nil {
		t.Fatal(err)
	}
	response, err := post(certificate)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK || response.ProtoMajor != 2 {
		t.Errorf("got %s over %s, want 200 over HTTP/2", response.Status, response.Proto)
	}
}
