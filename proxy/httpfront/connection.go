package httpfront

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"

	"mcpgateway/proxy/arrivals"
	"mcpgateway/proxy/restfront"
)

// connection is what is known of a client's connection, so that it is found out once
// for all of its requests.
type connection struct {
	conn   net.Conn // nil for a request that came by none
	door   door
	source netip.Addr   // invalid where connections have no such addresses
	local  *net.TCPAddr // nil there
	last   atomic.Pointer[place]
}

type connectionKey struct{}

func newConnection(conn net.Conn, by door) *connection {
	c := &connection{conn: conn, door: by, source: sourceOf(conn.RemoteAddr().String())}
	c.local, _ = conn.LocalAddr().(*net.TCPAddr)
	return c
}

// connectionOf is the connection that a request has come by.
func connectionOf(r *http.Request) *connection {
	if c, ok := r.Context().Value(connectionKey{}).(*connection); ok {
		return c
	}
	return &connection{source: sourceOf(r.RemoteAddr), local: localOf(r.Context())}
}

func localOf(ctx context.Context) *net.TCPAddr {
	local, _ := ctx.Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return local
}

func sourceOf(remote string) netip.Addr {
	from, _ := netip.ParseAddrPort(remote)
	return from.Addr().Unmap().WithZone("")
}

// known says whose connection it is, and reports false if the caller has too many.
func (c *connection) known(caller string) bool {
	return c.conn == nil || arrivals.Known(c.conn, caller)
}

// place is what the address of a request means, which is a function of what it is found
// by and of its connection.
type place struct {
	host, uri string // as they were sent
	publicURL string // the gateway's, as the policy has it
	at        address
	path      string // as it was sent
	name      string // the host without its port
	ours      bool   // the name is this machine's, or the address that the connection came to
	base      string // scheme and host of this gateway as its clients know them
	resource  string // the address as clients know it
}

// nowhere is the place of a request that was not looked at.
var nowhere = new(place)

// maxPlace bounds the addresses that are remembered.
const maxPlace = 512

// find finds out what the address of a request means: most connections have one.
func (c *connection) find(r *http.Request, publicURL string) *place {
	if p := c.last.Load(); p != nil && p.host == r.Host && p.uri == r.RequestURI && p.publicURL == publicURL {
		return p
	}
	p := &place{host: r.Host, uri: r.RequestURI, publicURL: publicURL, path: r.URL.EscapedPath(), name: hostname(r.Host)}
	p.at, p.ours = route(p.path), isOurs(p.name, c.local)
	p.base = c.baseOf(p, r.TLS != nil)
	p.resource = p.base + endpointPath(p.path)
	return p
}

// remember keeps the place of a request for the next one. It is for callers who are
// known: strangers have no memory here.
func (c *connection) remember(p *place) {
	if len(p.host)+len(p.uri) <= maxPlace && c.last.Load() != p {
		c.last.Store(p)
	}
}

func (c *connection) baseOf(p *place, secured bool) string {
	if p.publicURL != "" {
		return strings.TrimSuffix(p.publicURL, "/")
	}
	scheme := "http://"
	if secured {
		scheme = "https://"
	}
	return scheme + c.hostOf(p)
}

// hostOf is the Host header, which is to be found to be ours; but "localhost" in it is this
// machine only for who came by its loopback. Else a token that was made for a gateway
// on anybody's own machine would be good for all of them.
func (c *connection) hostOf(p *place) string {
	if c.local != nil && !c.local.IP.IsLoopback() && isLoopback(p.name) {
		return c.local.String()
	}
	return p.host
}

// endpointPath is the path of the endpoint that a path is of (RFC 8707): tokens are made
// for it.
func endpointPath(path string) string {
	a := route(path)
	switch {
	case a.endpoint == restAPI:
		return strings.TrimSuffix(restfront.Prefix, "/")
	case a.message != "":
		return strings.TrimSuffix(path, "/"+a.message)
	}
	return path
}

// publicURL is the gateway's own as the policy has it; "" without one.
func (x *exchange) publicURL() string {
	if x.Current == nil {
		return ""
	}
	return x.Policy.HTTP.PublicURL
}
