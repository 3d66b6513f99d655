package httpfront

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"mcpgateway/policy"
	"mcpgateway/proxy/arrivals"
	"mcpgateway/proxy/certs"
)

// Listeners are where clients come in. HTTP's listeners serve every transport that
// goes over HTTP, WebSocket and HTTP+SSE as far as the policy says so; the others
// serve their own alone.
type Listeners struct{ HTTP, WebSocket, SSE []net.Listener }

// Serve serves clients on the listeners, which it closes, until ctx ends; then
// listeners' streams end at once and calls in flight have graceWait to finish.
// It may be called once.
func (f *Front) Serve(ctx context.Context, l Listeners) error {
	server := newServer(f, f.log)
	server.BaseContext = func(l net.Listener) context.Context {
		return context.WithValue(context.Background(), doorKey{}, l.(*entrance).door)
	}
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connectionKey{}, conn)
	}
	stopped := context.AfterFunc(ctx, func() { close(f.closing) })
	defer stopped()
	most := arrivals.New(maxConnections, maxStrangers)
	var entrances []net.Listener
	enter := func(door door, listeners []net.Listener, protocols ...string) {
		for _, l := range listeners {
			entrances = append(entrances, &entrance{certs.Listener(most.Limit(l), f.tls, protocols...), door})
		}
	}
	enter(doorHTTP, l.HTTP, "h2", "http/1.1")
	enter(doorWebSocket, l.WebSocket, "http/1.1") // a connection is taken over
	enter(doorSSE, l.SSE, "h2", "http/1.1")
	defer f.ws.Wait() // their connections are not the server's any more
	return serve(ctx, server, entrances)
}

type connectionKey struct{}

// known says whose connection a request has come by, and reports false if the caller
// has too many.
func known(ctx context.Context, caller string) bool {
	conn, ok := ctx.Value(connectionKey{}).(net.Conn)
	return !ok || arrivals.Known(conn, caller)
}

// door is what a listener is for.
type door int

const (
	doorHTTP door = iota
	doorWebSocket
	doorSSE
)

type doorKey struct{}

// entrance is a listener that knows what it is for.
type entrance struct {
	net.Listener
	door door
}

func doorOf(ctx context.Context) door {
	d, _ := ctx.Value(doorKey{}).(door)
	return d
}

// tls is how the listeners prove themselves now, nil for plain text.
func (f *Front) tls() *policy.TLS {
	if now := f.current(); now != nil {
		return now.Policy.HTTP.TLS
	}
	return nil
}

// ServeAdmin serves the health checks and metrics until ctx ends.
func ServeAdmin(ctx context.Context, ready Readiness, metrics http.Handler, log *slog.Logger, listeners ...net.Listener) error {
	most := arrivals.New(maxAdminConnections, maxAdminConnections)
	var bounded []net.Listener
	for _, l := range listeners {
		bounded = append(bounded, most.Limit(l))
	}
	return serve(ctx, newServer(newAdmin(ready, metrics), log), bounded)
}

func newServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerWait,
		IdleTimeout:       idleWait,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// serve runs the server until ctx ends or a listener fails.
func serve(parent context.Context, server *http.Server, listeners []net.Listener) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var running sync.WaitGroup
	for _, l := range listeners {
		running.Go(func() {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				cancel(err)
			}
		})
	}
	<-ctx.Done()
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), graceWait)
	defer done()
	if err := server.Shutdown(grace); err != nil {
		server.Close()
	}
	running.Wait()
	if parent.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}
