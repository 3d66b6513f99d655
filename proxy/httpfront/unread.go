package httpfront

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"mcpgateway/proxy/http1"
)

// unread are a server's connections whose first request has not come to its handler yet.
// http.Server.Shutdown would end them without an answer, even as they are read.
type unread struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	none  chan struct{} // closed when there are none, once somebody waits
}

type unreadKey struct{}

// newcomer is a connection that may be one of them.
type newcomer struct {
	conn net.Conn
	read atomic.Bool
}

// watch makes server tell of its connections.
func (u *unread) watch(server *http.Server) {
	handler, connContext := server.Handler, server.ConnContext
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		if connContext != nil {
			ctx = connContext(ctx, conn)
		}
		return context.WithValue(ctx, unreadKey{}, &newcomer{conn: conn})
	}
	server.ConnState = func(conn net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			u.add(conn)
		case http.StateClosed, http.StateHijacked:
			u.remove(conn)
		}
	}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if from, ok := r.Context().Value(unreadKey{}).(*newcomer); ok {
			if !from.read.Load() {
				from.read.Store(true)
				u.remove(from.conn)
			}
		}
		handler.ServeHTTP(w, r)
	})
}

func (u *unread) add(conn net.Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.conns[conn] = struct{}{}
}

func (u *unread) remove(conn net.Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.conns, conn)
	u.tellLocked()
}

func (u *unread) tellLocked() {
	if u.none != nil && len(u.conns) == 0 {
		close(u.none)
		u.none = nil
	}
}

// wait waits until no more are accepted and none is left, or for long enough. It may be
// called once.
func (u *unread) wait(accepted <-chan struct{}) {
	patience := time.NewTimer(http1.UnreadWait)
	defer patience.Stop()
	select {
	case <-accepted:
	case <-patience.C:
		return
	}
	none := make(chan struct{})
	u.mu.Lock()
	u.none = none
	u.tellLocked()
	u.mu.Unlock()
	select {
	case <-none:
	case <-patience.C:
	}
}
