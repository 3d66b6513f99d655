package config

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"mcpgateway/policy"
	"mcpgateway/runtime/document"
)

// OnHTTP reports whether the clients of WebSocket or HTTP+SSE, whose listener l
// is, connect to HTTP's listener.
func (t *Transports) OnHTTP(l Listener) bool { return l.Enabled && l.Port == 0 && t.HTTP.Enabled }

// All gives every transport by its name, also those that are off.
func (t *Transports) All() map[string]Listener {
	return map[string]Listener{"http": t.HTTP.Listener, "grpc": t.GRPC.Listener, "websocket": t.WebSocket.Listener, "sse": t.SSE.Listener}
}

// Listeners gives what to listen on, by the name of the transport.
func (t *Transports) Listeners() map[string]Listener {
	all := t.All()
	maps.DeleteFunc(all, func(name string, l Listener) bool {
		return !l.Enabled || (name == "websocket" || name == "sse") && t.OnHTTP(l)
	})
	return all
}

// Ports are TCP ports, from First to Last; the zero value is none. In a file they are
// a text, "8100-8199", or one number.
type Ports struct{ First, Last int }

// Numeric lets one port be written as a number.
func (*Ports) Numeric() {}

// UnmarshalText reads "8100-8199" or "8100".
func (p *Ports) UnmarshalText(text []byte) error {
	ends := strings.SplitN(string(text), "-", 2)
	low, err := strconv.ParseUint(ends[0], 10, 16)
	high, errLast := strconv.ParseUint(ends[len(ends)-1], 10, 16)
	if err != nil || errLast != nil || low == 0 || low > high {
		return errors.New(`want ports of 1 to 65535, the lower first, as in "8100-8199", or one of them`)
	}
	*p = Ports{int(low), int(high)}
	return nil
}

// Reserved reports whether no listener may get that port by itself.
func (t *Transports) Reserved(port int) bool {
	return slices.ContainsFunc(t.ReservedPorts, func(p Ports) bool { return p.First <= port && port <= p.Last })
}

// LoadTransports is Load for what transports listen on, and looks at nothing of the host
// but the file: early at boot there is little else.
func LoadTransports(path string, env func(string) (string, bool)) (*Transports, document.Errors, error) {
	content, err := document.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	c := new(Config)
	c.setDefaults()
	checker := &checker{Report: document.Decode(path, content, env, c), config: c}
	checker.listeners()
	return &c.Transports, checker.Errors(), nil
}

func (c *checker) transports() {
	t := &c.config.Transports
	for i, origin := range t.HTTP.AllowedOrigins {
		scheme, host, _ := strings.Cut(origin, "://")
		if scheme != "http" && scheme != "https" || host == "" || strings.Contains(host, "/") {
			c.Fail(document.At("transports", "http", "allowed_origins").Index(i), `is %q, want scheme and host as in "https://app.example", with nothing behind`, origin)
		}
	}
	c.publicURL(document.At("transports", "http", "public_url"), &t.HTTP.PublicURL)
	c.tls(document.At("transports", "http", "tls"), &t.HTTP.TLS)
	c.tls(document.At("transports", "grpc", "tls"), &t.GRPC.TLS)
	c.listeners()
}

func (c *checker) listeners() {
	t := &c.config.Transports
	all, open, taken := t.All(), t.Listeners(), make(map[int]document.Path)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		p, l := document.At("transports", name), all[name]
		if _, err := netip.ParseAddr(l.Address); err != nil {
			c.Fail(p.Key("address"), `is %q, want an IP address such as "127.0.0.1"`, l.Address)
		}
		_, opens := open[name]
		other, ok := taken[l.Port]
		switch {
		case l.Enabled && !opens && c.Given(p.Key("address")):
			c.Fail(p.Key("address"), "has no meaning without a port of its own: give it one, or remove the address to be where http is")
		case opens && ok && l.Port != 0:
			c.Fail(p.Key("port"), "is %d, which %s has already", l.Port, other)
		case opens:
			taken[l.Port] = p
		}
	}
	next := t.PortRange.First - 1
	for _, l := range open { // each without a port of its own gets the next one that it may have
		for more := l.Port == 0; more; more = next <= t.PortRange.Last && (taken[next] != "" || t.Reserved(next)) {
			next++
		}
	}
	if t.PortRange.Last > 0 && next > t.PortRange.Last {
		c.Fail(document.At("transports", "port_range"), "has too few ports that are neither reserved nor another listener's: widen it")
	}
}

// tls reads the files of a listener's certificate. What is in them is for the
// proxy to judge: the daemon links no TLS.
func (c *checker) tls(p document.Path, t *TLS) {
	if t.CertFile+t.KeyFile+t.ClientCAFile+t.CRLFile+t.ClientCertificates == "" {
		return
	}
	if t.CertFile == "" || t.KeyFile == "" {
		c.Fail(p, "needs both a cert_file and a key_file")
	}
	for key, value := range map[string]string{"crl_file": t.CRLFile, "client_certificates": t.ClientCertificates} {
		if value != "" && t.ClientCAFile == "" {
			c.Fail(p.Key(key), "has no meaning without a client_ca_file")
		}
	}
	t.PEM = &policy.TLS{
		Certificate: c.pem(p.Key("cert_file"), t.CertFile, c.ReadFile),
		Key:         c.pem(p.Key("key_file"), t.KeyFile, c.ReadSecret),
		ClientCA:    c.pem(p.Key("client_ca_file"), t.ClientCAFile, c.ReadFile),
		Optional:    t.ClientCertificates == "optional",
		Revoked:     c.pem(p.Key("crl_file"), t.CRLFile, c.ReadFile),
	}
}

func (c *checker) pem(p document.Path, path string, read func(string) ([]byte, error)) []byte {
	if path == "" || c.HasFailed(p) {
		return nil
	}
	content, err := read(path)
	switch {
	case err != nil:
		c.Fail(p, "%v", err)
	case len(content) == 0 || len(content) > document.MaxFileSize: // no CA is no demand, and half a list is another one
		c.Fail(p, "%s is empty, or larger than %d bytes", path, document.MaxFileSize)
	}
	return content
}
