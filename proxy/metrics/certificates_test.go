package metrics

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"testing"

	"mcpgateway/proxy/proxytest"
)

func TestCertificates(t *testing.T) {
	t.Parallel()
	p := rules("files")
	old := proxytest.NewAuthority(t, "old")
	p.HTTP.TLS = proxytest.NewAuthority(t, "clients").Sign("gateway")
	p.HTTP.TLS.ClientCA = append([]byte("what is no certificate\n"), old.PEM...)
	p.GRPC.TLS = old.Sign("gateway")
	g := newGateway(t, p)
	expires := func(listener string, document []byte) string {
		block, _ := pem.Decode(document)
		parsed, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("mcp_gateway_certificate_expiry_timestamp_seconds{listener=%q} %v", listener, float64(parsed.NotAfter.Unix()))
	}
	g.has(expires("http", p.HTTP.TLS.Certificate), expires("http_client_ca", old.PEM), expires("grpc", p.GRPC.TLS.Certificate))
	if got := g.series("mcp_gateway_certificate_expiry_timestamp_seconds"); got != 3 {
		t.Errorf("got %d certificates, want 3", got)
	}
	chain := append(append([]byte{}, p.GRPC.TLS.Certificate...), proxytest.NewAuthority(t, "later").PEM...)
	if got, want := earliest(chain), earliest(p.GRPC.TLS.Certificate); !got.Equal(want) {
		t.Errorf("of a chain: got %s, want %s", got, want)
	}
	g.Apply(rules("files"))
	if got := g.series("mcp_gateway_certificate_expiry_timestamp_seconds"); got != 0 {
		t.Errorf("got %d certificates of listeners without TLS", got)
	}
}
