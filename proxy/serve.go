package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/grpcfront"
	"mcpgateway/proxy/httpfront"
	"mcpgateway/proxy/report"
)

// Listeners are where clients connect, by transport. HTTP serves WebSocket and
// HTTP+SSE, too, if the policy says so.
type Listeners struct{ HTTP, GRPC, WebSocket, SSE []net.Listener }

// callWait is how long calls in flight may go on when the gateway stops. What has not
// ended by then is told why: the fronts have a little more patience with answers.
const callWait = 5 * time.Second

// Serve serves clients until ctx ends, then stops every instance and returns
// when nothing runs any more. It refuses listeners of a transport that is off in
// the policy in force.
func (p *Proxy) Serve(parent context.Context, l Listeners) error {
	defer p.memory.auth.Close()
	defer p.fleet.Close()
	defer p.sessions.Close()
	if current := p.current.Load(); current != nil { // else nobody is served yet
		if err := l.judge(current.Policy, p.log); err != nil {
			return err
		}
	}
	listening := l
	p.serving.Store(&listening)
	l = l.counted(p.connections)
	web := httpfront.Listeners{HTTP: l.HTTP, WebSocket: l.WebSocket, SSE: l.SSE}
	ctx, stop := context.WithCancelCause(parent)
	defer stop(nil)
	var serving sync.WaitGroup
	serving.Go(func() { stop(httpfront.New(p.current.Load, p.log).Serve(ctx, web)) })
	serving.Go(func() {
		stop(grpcfront.New(p.current.Load, grpcfront.Readiness{Gateway: p.ready, Server: p.readyServer}, p.log).Serve(ctx, l.GRPC...))
	})
	ended := make(chan struct{})
	var ending sync.WaitGroup
	ending.Go(func() { p.endCalls(ctx, ended) })
	serving.Wait()
	close(ended)
	ending.Wait()
	if parent.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

// endCalls ends the calls that go on for too long after the end of ctx, unless all have ended.
func (p *Proxy) endCalls(ctx context.Context, ended <-chan struct{}) {
	<-ctx.Done()
	patience := time.NewTimer(callWait)
	defer patience.Stop()
	select {
	case <-patience.C:
		p.fleet.Close()
	case <-ended:
	}
}

// describe says where clients connect.
func (l Listeners) describe() (all []report.Listener) {
	for _, t := range []struct {
		name      string
		listeners []net.Listener
	}{{"http", l.HTTP}, {"grpc", l.GRPC}, {"websocket", l.WebSocket}, {"sse", l.SSE}} {
		for _, listener := range t.listeners {
			all = append(all, report.Listener{Transport: t.name, Address: listener.Addr().String()})
		}
	}
	return all
}

// listening is where clients connect, once they may.
func (p *Proxy) listening() []report.Listener {
	if l := p.serving.Load(); l != nil {
		return append([]report.Listener{}, l.describe()...)
	}
	return []report.Listener{}
}

// judge refuses listeners of transports that are off, and tells of those that
// other hosts reach without TLS.
func (l Listeners) judge(rules *policy.Policy, log *slog.Logger) error {
	for _, t := range []struct {
		name      string
		tls       *policy.TLS
		listeners []net.Listener
	}{{"http", rules.HTTP.TLS, l.HTTP}, {"grpc", rules.GRPC.TLS, l.GRPC}, {"websocket", rules.HTTP.TLS, l.WebSocket}, {"sse", rules.HTTP.TLS, l.SSE}} {
		for _, listener := range t.listeners {
			address, isTCP := listener.Addr().(*net.TCPAddr)
			switch {
			case !slices.Contains(rules.Transports, t.name):
				return fmt.Errorf("a listener for %s was passed, %s, but transports.%[1]s is off: enable it, or stop its socket unit", t.name, listener.Addr())
			case isTCP && !address.IP.IsLoopback() && t.tls == nil:
				log.Warn("clients elsewhere connect without TLS: keys can be read on the way here, unless something else ends TLS before",
					"transport", t.name, "address", address)
			}
		}
	}
	return nil
}
