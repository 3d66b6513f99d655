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
	"mcpgateway/proxy/http1"
	"mcpgateway/proxy/httpio"
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
		return contextOf(ctx, conn, doorOf(ctx))
	}
	stopped := context.AfterFunc(ctx, func() { close(f.closing) })
	defer stopped()
	most := arrivals.New(func() (all, each int) { return f.current().Connections() }, maxStrangers)
	var entrances []net.Listener
	var failed error
	enter := func(door door, listeners []net.Listener, protocols ...string) {
		for _, l := range listeners {
			plain, err := http1.New(certs.Listener(most.Limit(httpio.Deferred(l)), f.tls, protocols...), http1.Config{
				Handler: f, Log: f.log, Waits: http1.Waits{Headers: headerWait, Park: parkAfter, Idle: idleWait},
				Context: func(conn net.Conn) context.Context { return contextOf(context.Background(), conn, door) },
			})
			if err != nil {
				failed = errors.Join(failed, err, l.Close())
				continue
			}
			entrances = append(entrances, &entrance{plain, door})
		}
	}
	enter(doorHTTP, l.HTTP, "h2", "http/1.1")
	enter(doorWebSocket, l.WebSocket, "http/1.1") // a connection is taken over
	enter(doorSSE, l.SSE, "h2", "http/1.1")
	if failed != nil {
		for _, l := range entrances {
			failed = errors.Join(failed, l.Close())
		}
		return failed
	}
	defer f.ws.Wait() // their connections are not the server's any more
	return serve(ctx, server, entrances)
}

// door is what a listener is for.
type door int

const (
	doorHTTP door = iota
	doorWebSocket
	doorSSE
)

type doorKey struct{}

// entrance is the server of most requests, and a listener that knows what it is for to
// that of the others.
type entrance struct {
	*http1.Server
	door door
}

// contextOf is the context of the requests of a connection.
func contextOf(ctx context.Context, conn net.Conn, by door) context.Context {
	return context.WithValue(ctx, connectionKey{}, newConnection(conn, by))
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
	most := arrivals.New(arrivals.Fixed(maxAdminConnections), maxAdminConnections)
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
	unread := &unread{conns: map[net.Conn]struct{}{}}
	unread.watch(server)
	var running sync.WaitGroup
	for _, l := range listeners {
		running.Go(func() {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				cancel(err)
			}
		})
	}
	accepted := make(chan struct{}) // closed when nobody is any more
	go func() {
		defer close(accepted)
		running.Wait()
	}()
	<-ctx.Done()
	for _, l := range listeners {
		_ = l.Close() // the server does so again
	}
	unread.wait(accepted)
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), graceWait)
	defer done()
	for _, l := range listeners {
		if e, ok := l.(*entrance); ok {
			running.Go(func() { e.Shutdown(grace) })
		}
	}
	if err := server.Shutdown(grace); err != nil {
		server.Close()
	}
	running.Wait()
	if parent.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}
