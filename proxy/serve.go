package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"mcpgateway/policy"
	"mcpgateway/proxy/httpfront"
)

// Listeners are where clients connect, by transport. HTTP serves WebSocket and
// HTTP+SSE, too, if the policy says so.
type Listeners struct{ HTTP, GRPC, WebSocket, SSE []net.Listener }

// Serve serves clients until ctx ends, then stops every instance and returns
// when nothing runs any more.
func (p *Proxy) Serve(ctx context.Context, l Listeners) error {
	if current := p.current.Load(); current != nil { // else nobody is served yet
		warnOfPlainText(p.log, current.Policy, l)
	}
	defer p.pool.Close()
	if len(l.GRPC)+len(l.WebSocket)+len(l.SSE) > 0 {
		return errors.New("this version serves HTTP only")
	}
	return httpfront.New(p.current.Load, p.log).Serve(ctx, l.HTTP...)
}

// warnOfPlainText tells of listeners that other hosts reach without TLS.
func warnOfPlainText(log *slog.Logger, rules *policy.Policy, l Listeners) {
	warn := func(transport string, tls *policy.TLS, listeners []net.Listener) {
		for _, listener := range listeners {
			address, isTCP := listener.Addr().(*net.TCPAddr)
			if tls == nil && isTCP && !address.IP.IsLoopback() {
				log.Warn("clients elsewhere connect without TLS: keys can be read on the way here, unless something else ends TLS before",
					"transport", transport, "address", address)
			}
		}
	}
	warn("http", rules.HTTP.TLS, l.HTTP)
	warn("websocket", rules.HTTP.TLS, l.WebSocket)
	warn("sse", rules.HTTP.TLS, l.SSE)
	warn("grpc", rules.GRPC.TLS, l.GRPC)
}
