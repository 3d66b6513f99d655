package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"

	"mcpgateway/policy/authntest"
	"mcpgateway/proxy/grpcfront/gatewaypb"
	"mcpgateway/runtime/keys"
)

// judge is a gateway that a World's credentials are shown to, and its audit log.
type judge struct {
	*gateway
	world *authntest.World
	setup authntest.Setup
}

// newJudge runs a gateway of one setup with all the transports that are named.
func newJudge(t *testing.T, w *authntest.World, setup authntest.Setup, transports ...string) *judge {
	t.Helper()
	security, tlsFiles := w.Configuration(setup, folder(t))
	dir := folder(t)
	all := transports
	if tlsFiles != "" {
		all = append(all, "http: {tls: "+tlsFiles+"}")
	}
	prepare := func(g *gateway) {
		content, err := json.Marshal(keys.File{Keys: w.Stored()})
		if err == nil {
			err = os.Mkdir(g.state(), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(g.state(), "keys.json"), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	g := startPrepared(t, prepare,
		fmt.Sprintf("projects: {%s: {}}\nsecurity: %s\ntransports: {%s}\naudit: {enabled: true, file: %q, sync: never}\n",
			authntest.Project, security, strings.Join(all, ", "), filepath.Join(dir, "audit.log")),
		servers(testserver("files", "project: "+authntest.Project)))
	return &judge{gateway: g, world: w, setup: setup}
}

// auditRecord is what tests look at of a line of the audit log.
type auditRecord struct {
	Event, Source, Transport, Name, Decision, Status, Reason, Subject, Auth, Rule, Project, Server string

	line string
}

// audited are the records of an event in the audit log of calls.
func (g *gateway) audited(t *testing.T, event string) (found []auditRecord) {
	t.Helper()
	var c struct{ File string }
	heads := mustRead(t, g.config())
	_, rest, _ := bytes.Cut(heads, []byte("audit: {enabled: true, file: "))
	if err := json.NewDecoder(bytes.NewReader(rest)).Decode(&c.File); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mustRead(t, c.File))) {
		r := auditRecord{line: line}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			continue // the last one is being written
		}
		if r.Event == event {
			found = append(found, r)
		}
	}
	return found
}

// verified has mcp-gateway audit verify find nothing wrong.
func (g *gateway) verified(t *testing.T) {
	t.Helper()
	if out := g.cli(t, "audit", "verify"); !strings.Contains(out, "are as they were written") {
		t.Errorf("audit verify: got %s", out)
	}
}

// from is an address of the loopback network for each number: who fails too often
// from one is not asked any more.
func from(n int) net.IP { return net.IPv4(127, 1, byte(1+n/200), byte(1+n%200)) }

// client is who shows a case's credential from one address.
func (j *judge) client(t *testing.T, c authntest.Case, source net.IP) *http.Client {
	t.Helper()
	config := &tls.Config{RootCAs: j.world.CA.Roots(), ServerName: "localhost"}
	if c.Certificate != nil {
		// Not in Certificates: a client would leave out what the server does not ask for.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.Certificate, nil }
	}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: source}}
	transport := &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: config, DisableKeepAlives: true}
	return &http.Client{Transport: transport, Timeout: patience}
}

// show sends a request with a case's credential; status 0 is a connection that ended
// in its handshake.
func (j *judge) show(t *testing.T, c authntest.Case, source net.IP, method, path, body string, more ...string) (status int, header http.Header, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, j.addresses.HTTP+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(r.Header, c.Header)
	for i := 0; i < len(more); i += 2 {
		r.Header.Set(more[i], more[i+1])
	}
	response, err := j.client(t, c, source).Do(r)
	if err != nil {
		if !strings.Contains(err.Error(), "remote error: tls: ") {
			t.Errorf("%s: %v", c.Name, err)
		}
		return 0, nil, ""
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusSwitchingProtocols {
		return response.StatusCode, response.Header, ""
	}
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		t.Errorf("%s: %v", c.Name, err)
	}
	return response.StatusCode, response.Header, string(content)
}

// initialize shows a case's credential to the server.
func (j *judge) initialize(t *testing.T, c authntest.Case, source net.IP) (status int, header http.Header, text string) {
	t.Helper()
	return j.show(t, c, source, http.MethodPost, "/servers/files/mcp", initialize,
		"Accept", "application/json, text/event-stream", "Content-Type", "application/json")
}

// TestHostileCredentials shows every credential that nobody may be let in with to a
// whole gateway. Each is refused with its status, reaches no server, and is in the
// audit log once, without the credential.
func TestHostileCredentials(t *testing.T) {
	t.Parallel()
	w := authntest.New(t)
	of := map[authntest.Setup][]authntest.Case{}
	total := 0
	for _, c := range w.Hostile() {
		of[c.Setup] = append(of[c.Setup], c)
		total++
	}
	if total < 150 {
		t.Fatalf("got %d cases, want all of them", total)
	}
	for _, setup := range authntest.Setups() {
		t.Run(string(setup), func(t *testing.T) {
			j := newJudge(t, w, setup)
			for i, c := range of[setup] {
				j.refuses(t, c, from(i))
			}
			if started := j.instances(t, "files"); len(started) > 0 {
				t.Errorf("got servers %v started for nobody", started)
			}
			j.wantRecords(t, of[setup])
			j.letsIn(t)
			j.verified(t)
		})
	}
	if lured := w.Issuer.Lured.Load(); lured != 0 {
		t.Errorf("a token had keys fetched from where it said, %d times", lured)
	}
}

func (j *judge) refuses(t *testing.T, c authntest.Case, source net.IP) {
	t.Helper()
	code, header, text := j.initialize(t, c, source)
	if code != c.Status {
		t.Errorf("%s: got status %d %s, want %d", c.Name, code, text, c.Status)
	}
	if code == 0 {
		return
	}
	challenge := header.Get("WWW-Authenticate")
	want := map[int]string{http.StatusUnauthorized: "Bearer", http.StatusForbidden: `Bearer error="insufficient_scope"`}[c.Status]
	if j.setup == authntest.Certificates {
		want = "" // no header proves anything there
	}
	if !strings.HasPrefix(challenge, want) || (challenge == "") != (want == "") {
		t.Errorf("%s: got the challenge %q, want %q", c.Name, challenge, want)
	}
	issued := j.setup == authntest.Issued || j.setup == authntest.Optional
	if published := strings.Contains(challenge, `resource_metadata="`+j.addresses.HTTP+"/.well-known/oauth-protected-resource/servers/files/mcp\""); published != issued {
		t.Errorf("%s: got the challenge %q, want metadata named: %t", c.Name, challenge, issued)
	}
	for _, secret := range secretsOf(c) {
		if strings.Contains(challenge+text, secret) {
			t.Errorf("%s: the answer quotes the credential: %s %s", c.Name, challenge, text)
		}
	}
}

// secretsOf are the parts of a credential that are worth hiding.
func secretsOf(c authntest.Case) (secrets []string) {
	for _, value := range append(c.Header["X-Api-Key"], c.Header["Authorization"]...) {
		parts := strings.FieldsFunc(value, func(r rune) bool { return r == '.' || r == ' ' || r == '\t' })
		for _, part := range parts {
			if len(part) > 30 {
				secrets = append(secrets, part[:30], part[len(part)-30:])
			}
		}
	}
	return secrets
}

// wantRecords looks for one record of each case that got as far as a request.
func (j *judge) wantRecords(t *testing.T, cases []authntest.Case) {
	t.Helper()
	want := 0
	for _, c := range cases {
		if c.Status != 0 {
			want++
		}
	}
	var records []auditRecord
	eventually(t, "all refusals are in the audit log", func() bool {
		records = j.audited(t, "auth-failed")
		return len(records) >= want
	})
	if len(records) != want {
		t.Errorf("got %d records of refusals, want %d", len(records), want)
	}
	by := map[string][]auditRecord{}
	for _, r := range records {
		by[r.Source] = append(by[r.Source], r)
	}
	for i, c := range cases {
		switch found := by[from(i).String()]; {
		case c.Status == 0 && len(found) == 0:
		case c.Status == 0 || len(found) != 1:
			t.Errorf("%s: got records %v, want one, or none of a handshake", c.Name, found)
		case found[0].Decision != "deny" || found[0].Reason == "" || found[0].Transport != "http" || found[0].Name != "/servers/files/mcp" ||
			found[0].Status == "" || found[0].Subject != "":
			t.Errorf("%s: got %s", c.Name, found[0].line)
		default:
			for _, secret := range secretsOf(c) {
				if strings.Contains(found[0].line, secret) || strings.Contains(j.log.String(), secret) {
					t.Errorf("%s: the audit log or the log has the credential: %s", c.Name, found[0].line)
				}
			}
		}
	}
}

// letsIn has the same gateway take what hostile credentials differ from.
func (j *judge) letsIn(t *testing.T) {
	t.Helper()
	for i, c := range j.world.Good() {
		if c.Setup != j.setup {
			continue
		}
		code, header, text := j.initialize(t, c, from(1000+i))
		if code != http.StatusOK {
			t.Errorf("%s: got status %d %s, want it let in", c.Name, code, text)
			continue
		}
		j.show(t, c, from(1000+i), http.MethodDelete, "/servers/files/mcp", "", "Mcp-Session-Id", header.Get("Mcp-Session-Id"), "Mcp-Protocol-Version", "2025-11-25")
	}
}

// classes are one hostile case of each kind.
func classes() []string {
	return []string{
		"nothing", "alg none", "HS256 with the RSA public key", "RS256, one bit altered", "key in the token (jwk)", "key id is SQL", "critical extension",
		"expired", "not valid yet", "another audience", "another issuer", "of an unknown organisation", "subject twice", "without the scope",
		"two headers", "token and API key", "scheme Basic", "revoked API key", "expired API key", "API key with another's secret",
	}
}

// TestHostileCredentialsByOtherTransports shows one of each kind to the others.
func TestHostileCredentialsByOtherTransports(t *testing.T) {
	t.Parallel()
	w := authntest.New(t)
	j := newJudge(t, w, authntest.Issued, "grpc: {enabled: true}", "websocket: {enabled: true}", "sse: {enabled: true}")
	byName := map[string]authntest.Case{}
	for _, c := range w.Hostile() {
		byName[c.Name] = c
	}
	over := []struct {
		transport string
		ask       func(c authntest.Case, source net.IP) int
	}{
		{"websocket", func(c authntest.Case, source net.IP) int {
			status, _, _ := j.show(t, c, source, http.MethodGet, "/servers/files/ws", "", "Connection", "Upgrade", "Upgrade", "websocket",
				"Sec-Websocket-Version", "13", "Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Sec-Websocket-Protocol", "mcp")
			return status
		}},
		{"sse", func(c authntest.Case, source net.IP) int {
			status, _, _ := j.show(t, c, source, http.MethodGet, "/servers/files/sse", "", "Accept", "text/event-stream")
			return status
		}},
		{"rest", func(c authntest.Case, source net.IP) int {
			status, _, _ := j.show(t, c, source, http.MethodGet, "/api/v1/tools", "")
			return status
		}},
		{"grpc", func(c authntest.Case, source net.IP) int { return j.overGRPC(t, c, source) }},
	}
	next := 0
	for _, o := range over {
		for _, name := range classes() {
			c, known := byName[name]
			if !known {
				t.Fatalf("there is no case %q", name)
			}
			source := from(next)
			next++
			if got := o.ask(c, source); got != c.Status {
				t.Errorf("%s, %s: got status %d, want %d", o.transport, name, got, c.Status)
			}
			eventually(t, "the refusal is in the audit log", func() bool {
				records := j.audited(t, "auth-failed")
				return len(records) == next && records[next-1].Transport == o.transport && records[next-1].Source == source.String()
			})
		}
	}
	if started := j.instances(t, "files"); len(started) > 0 {
		t.Errorf("got servers %v started for nobody", started)
	}
	good := w.Good()[0]
	for i, path := range []string{"/servers/nothing/mcp", "/api/v1/servers/nothing/tools"} {
		if status, _, text := j.show(t, good, from(next), http.MethodGet, path, ""); status != http.StatusNotFound {
			t.Errorf("%s with a good token: got status %d %s", path, status, text)
		}
		eventually(t, "the denial is in the audit log", func() bool {
			denied := j.audited(t, "denied")
			return len(denied) == i+1 && denied[i].Server == "nothing" && denied[i].Subject == "jwt:"+w.Issuer.URL+"|alice" && denied[i].Decision == "deny"
		})
	}
	page := authntest.Case{Name: "token of a web page", Header: http.Header{
		"Sec-Websocket-Protocol": {"mcp, mcp.key." + strings.TrimPrefix(good.Header.Get("Authorization"), "Bearer ")},
	}}
	status, header, _ := j.show(t, page, from(next), http.MethodGet, "/servers/files/ws", "", "Connection", "Upgrade", "Upgrade", "websocket",
		"Sec-Websocket-Version", "13", "Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	if status != http.StatusSwitchingProtocols || header.Get("Sec-Websocket-Protocol") != "mcp" {
		t.Errorf("%s: got status %d and subprotocol %q", page.Name, status, header.Get("Sec-Websocket-Protocol"))
	}
	if got := j.overGRPC(t, good, from(next)); got != http.StatusOK {
		t.Errorf("grpc: got status %d for a good token", got)
	}
	j.verified(t)
}

// overGRPC lists tools, and gives the status that HTTP has for its code.
func (j *judge) overGRPC(t *testing.T, c authntest.Case, source net.IP) int {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: source}}
	conn, err := grpc.NewClient("passthrough:///"+j.addresses.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	md := metadata.MD{}
	for name, values := range c.Header {
		md.Append(name, values...)
	}
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(t.Context(), md), patience)
	defer cancel()
	_, err = gatewaypb.NewGatewayClient(conn).Discover(ctx, &gatewaypb.DiscoverRequest{})
	code, known := map[string]int{"OK": 200, "Unauthenticated": 401, "PermissionDenied": 403, "ResourceExhausted": 429, "Unavailable": 503}[grpcstatus.Code(err).String()]
	if !known {
		t.Errorf("%s: got %v", c.Name, err)
	}
	return code
}

// TestGuessingIsSlow has one address fail too often.
func TestGuessingIsSlow(t *testing.T) {
	t.Parallel()
	w := authntest.New(t)
	j := newJudge(t, w, authntest.Issued)
	shown := func(token string) authntest.Case {
		return authntest.Case{Header: http.Header{"Authorization": {"Bearer " + token}}}
	}
	known, key := shown(w.Token(nil)), shown(w.Key())
	source, other := from(0), from(1)
	ask := func(c authntest.Case, source net.IP) (int, http.Header) {
		t.Helper()
		status, header, _ := j.show(t, c, source, http.MethodGet, "/api/v1/servers", "")
		return status, header
	}
	if got, _ := ask(known, source); got != http.StatusOK {
		t.Fatalf("got status %d for a good token", got)
	}
	const tries = 100
	refused := map[int]int{}
	for range tries {
		got, header := ask(shown(w.Forged()), source)
		refused[got]++
		if got == http.StatusTooManyRequests && header.Get("Retry-After") == "" {
			t.Fatal("429 without Retry-After")
		}
	}
	if refused[http.StatusUnauthorized] < 20 || refused[http.StatusTooManyRequests] == 0 || refused[http.StatusUnauthorized]+refused[http.StatusTooManyRequests] != tries {
		t.Fatalf("got statuses %v, want 401 twenty times and then 429 mostly", refused)
	}
	for name, c := range map[string]authntest.Case{"a known token": known, "an API key": key} {
		if got, _ := ask(c, source); got != http.StatusOK {
			t.Errorf("%s from that address: got status %d", name, got)
		}
	}
	if got, _ := ask(shown(w.Token(map[string]any{"jti": "new"})), other); got != http.StatusOK {
		t.Errorf("a new token from another address: got status %d", got)
	}
	var told, throttled int
	for _, r := range j.audited(t, "auth-failed") {
		if strings.Contains(r.Reason, "too many wrong credentials") {
			throttled++
		} else {
			told++
		}
	}
	if told != refused[http.StatusUnauthorized] || throttled == 0 || throttled > refused[http.StatusTooManyRequests]/2 {
		t.Errorf("got %d records of refusals and %d of what was not looked at, for %v", told, throttled, refused)
	}
	j.verified(t)
}
