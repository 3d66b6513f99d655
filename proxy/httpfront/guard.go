package httpfront

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"mcpgateway/proxy/headers"
)

// hostAllowed refuses requests for names that are not the gateway's: a web page
// whose name was rebound to this address (DNS rebinding) still names its own
// host. Allowed are loopback names, the address the request came to, and the
// configured ones, with or without a port.
func (p *place) hostAllowed(allowed []string) bool {
	return p.ours || p.name != "" && slices.ContainsFunc(allowed, func(a string) bool {
		return strings.EqualFold(a, p.host) || strings.EqualFold(a, p.name)
	})
}

// isOurs reports whether a host is this machine, or the address that a connection came
// to.
func isOurs(host string, local *net.TCPAddr) bool { return isLoopback(host) || isLocal(host, local) }

// hostname is the host without port and brackets.
func hostname(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}

func isLocal(host string, local *net.TCPAddr) bool {
	if local == nil {
		return false
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap() == local.AddrPort().Addr().Unmap()
}

// allowOrigin refuses web pages (only browsers send Origin) but those of the
// configured origins, and those of this machine when it is asked as this
// machine. It lets the allowed ones read the answer.
func (x *exchange) allowOrigin() bool {
	h := x.out.w.Header()
	h["Vary"] = varyOrigin
	origins := x.r.Header["Origin"]
	if len(origins) == 0 {
		return true
	}
	if len(origins) > 1 || !originAllowed(origins[0], x.name, x.Policy.HTTP.AllowedOrigins) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origins[0])
	h.Set("Access-Control-Expose-Headers", "Mcp-Session-Id, WWW-Authenticate, Retry-After")
	return true
}

func originAllowed(origin, host string, allowed []string) bool {
	if slices.ContainsFunc(allowed, func(a string) bool { return strings.EqualFold(a, origin) }) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && isLoopback(u.Hostname()) && isLoopback(host)
}

// preflight answers a browser that asks whether it may send a request (Fetch
// standard, CORS). An origin that may not has been refused before.
func (x *exchange) preflight() {
	h := x.out.w.Header()
	h.Set("Allow", "POST, GET, DELETE, OPTIONS")
	if x.r.Header.Get("Origin") != "" {
		h.Set("Access-Control-Allow-Methods", "POST, GET, DELETE")
		h.Set("Access-Control-Allow-Headers", strings.Join(append(parameterHeaders(x.r.Header),
			"Authorization, X-API-Key, Content-Type, Accept, Mcp-Session-Id, Mcp-Protocol-Version, Mcp-Method, Mcp-Name, Last-Event-ID"), ", "))
		h.Add("Vary", "Access-Control-Request-Headers")
		h.Set("Access-Control-Max-Age", "600")
	}
	x.out.w.WriteHeader(http.StatusNoContent)
}

// parameterHeaders are those of the headers that a browser asks for that repeat
// parameters of tools: their names are the servers'.
func parameterHeaders(h http.Header) (asked []string) {
	for _, value := range h.Values("Access-Control-Request-Headers") {
		for name := range strings.SplitSeq(value, ",") {
			if name = strings.TrimSpace(name); headers.IsParameter(name) {
				asked = append(asked, name)
			}
		}
	}
	return asked
}
