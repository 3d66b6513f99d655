package httpfront

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"mcpgateway/policy"
	"mcpgateway/proxy/certs"
)

// Serve serves clients on the listeners, which it closes, until ctx ends; then
// listeners' streams end at once and calls in flight have graceWait to finish.
// It may be called once.
func (f *Front) Serve(ctx context.Context, listeners ...net.Listener) error {
	server := newServer(f, f.log)
	stopped := context.AfterFunc(ctx, func() { close(f.closing) })
	defer stopped()
	bounded := limit(listeners, maxConnections)
	for i, l := range bounded {
		bounded[i] = certs.Listener(l, f.tls, "h2", "http/1.1")
	}
	return serve(ctx, server, bounded)
}

// tls is how the listeners prove themselves now, nil for plain text.
func (f *Front) tls() *policy.TLS {
	if now := f.current(); now != nil {
		return now.Policy.HTTP.TLS
	}
	return nil
}

// ServeAdmin serves the health checks until ctx ends. ready says why the gateway
// is not ready, nil if it is.
func ServeAdmin(ctx context.Context, ready func() error, log *slog.Logger, listeners ...net.Listener) error {
	return serve(ctx, newServer(newAdmin(ready), log), limit(listeners, maxAdminConnections))
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

// limit lets listeners together have so many connections.
func limit(listeners []net.Listener, most int) []net.Listener {
	slots := make(chan struct{}, most)
	bounded := make([]net.Listener, len(listeners))
	for i, l := range listeners {
		bounded[i] = &limited{Listener: l, slots: slots}
	}
	return bounded
}

// limited is a listener that accepts no more connections than there are slots.
type limited struct {
	net.Listener
	slots chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	l.slots <- struct{}{}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &counted{Conn: conn, slots: l.slots}, nil
}

type counted struct {
	net.Conn
	slots chan struct{}
	once  sync.Once
}

func (c *counted) Close() error {
	defer c.once.Do(func() { <-c.slots })
	return c.Conn.Close()
}
