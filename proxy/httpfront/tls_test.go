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

// Over HTTP/2 all streams of a client share a connection: one that is cut or not
// read keeps nothing from the others.
func TestStreamsOverHTTP2(t *testing.T) {
	ca := proxytest.NewAuthority(t, "ca")
	g := newGateway(t, func(p *policy.Policy) { p.HTTP.TLS, p.HTTP.SSE = ca.Sign("gateway"), true })
	g.url = strings.Replace(g.url, "http:", "https:", 1)
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: ca.Roots()}}
	defer transport.CloseIdleConnections()
	g.client = &http.Client{Transport: transport}
	session := g.session("echo")
	listener := g.open("GET", "echo", "", session)
	eventsOf(listener, 1)
	flood := toolCall("9", "progress", `,"arguments":{"n":50000},"_meta":{"progressToken":"`+strings.Repeat("t", 200)+`"}`)
	unread := g.open("POST", "echo", flood, session)
	asked := g.open("POST", "echo", toolCall(`"c"`, "ask", ""), session)
	first := eventsOf(asked, 2)
	asked.cut()
	if got := g.do("POST", "echo", answer, session); got.status != http.StatusAccepted {
		t.Errorf("answer: got %+v", got)
	}
	if got := events(t, g.open("GET", "echo", "", session, "Last-Event-ID: "+first[0].id), 9); len(got) != 2 || !strings.Contains(got[1], `"id":"c","result"`) {
		t.Errorf("got %q", got)
	}
	g.changed(session)
	if got := events(t, listener, 1); len(got) != 1 || !strings.Contains(got[0], "list_changed") {
		t.Errorf("got %q", got)
	}
	stream, messages := g.overSSE("echo")
	g.at("POST", messages, initializeBody)
	if got := events(t, stream, 1); len(got) != 1 || !strings.Contains(got[0], "serverInfo") {
		t.Errorf("HTTP+SSE: got %q", got)
	}
	unread.cut()
}
