// Package wsfront serves MCP over WebSocket (RFC 6455): one JSON-RPC message a
// text message, both ways, of either era. It takes over requests that the HTTP
// front has admitted, and asks again, as long as the connection lasts, whether
// they would still be. It opens no listener and knows no server.
//
// Runs in: proxy.
package wsfront

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"mcpgateway/policy"
	"mcpgateway/proxy/gate"
)

// subprotocol is what a client must offer: other programs than MCP clients, and
// web pages that mean another server, do not.
const subprotocol = "mcp"

// Admitted is a request that the HTTP front lets become a connection.
type Admitted struct {
	Origin     gate.Origin
	Caller     *policy.Identity
	Scope      policy.Scope
	MaxMessage int64             // bytes of one message of the client
	MaxOpen    int               // connections of one caller
	Gate       func() *gate.Gate // the one in force
	Allowed    func() bool       // would the request still be admitted?
	Closing    <-chan struct{}   // closed when the gateway stops
}

// Front knows the connections that there are.
type Front struct {
	log   *slog.Logger
	times times

	running sync.WaitGroup
	mu      sync.Mutex
	open    map[string]int // connections by subject
}

// times of a connection. No one of them bounds a whole connection.
type times struct {
	beat    time.Duration // between pings, and questions whether it is allowed still
	silence time.Duration // without a byte from the client ends it: two pings without a pong
	message time.Duration // for a message of the client, once it has begun
	write   time.Duration // for the client to take the next 64 KiB
	close   time.Duration // for what is being written when a connection ends
}

// New returns a front without connections.
func New(log *slog.Logger) *Front {
	return &Front{log: log, open: map[string]int{}, times: times{
		beat:    15 * time.Second,
		silence: 45 * time.Second,
		message: 30 * time.Second,
		write:   30 * time.Second,
		close:   5 * time.Second,
	}}
}

// Serve turns a request into a connection and serves it to its end, or refuses it
// by HTTP.
func (f *Front) Serve(w http.ResponseWriter, r *http.Request, a Admitted) {
	f.running.Add(1)
	defer f.running.Done()
	if r.ProtoMajor != 1 {
		http.Error(w, "WebSocket needs HTTP/1.1", http.StatusHTTPVersionNotSupported)
		return
	}
	if isHandshake(r.Header) && !slices.Contains(tokens(r.Header, headerProtocol), subprotocol) {
		http.Error(w, fmt.Sprintf("offer the WebSocket subprotocol %q", subprotocol), http.StatusBadRequest)
		return
	}
	if !f.enter(a) {
		w.Header().Set("Retry-After", "5")
		http.Error(w, fmt.Sprintf("this caller has %d connections, the limit: close one", a.MaxOpen), http.StatusServiceUnavailable)
		return
	}
	defer f.leave(a)
	paced := &paced{ResponseWriter: w, wait: f.times.write}
	conn, err := websocket.Accept(paced, r, &websocket.AcceptOptions{
		Subprotocols:       []string{subprotocol},
		InsecureSkipVerify: true, // the HTTP front has judged the Origin, by the policy
	})
	if err != nil { // the client knows
		return
	}
	f.serve(conn, paced.conn, a)
}

// Wait returns when no connection is left.
func (f *Front) Wait() { f.running.Wait() }

func (f *Front) enter(a Admitted) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[a.Caller.Subject] >= a.MaxOpen {
		return false
	}
	f.open[a.Caller.Subject]++
	return true
}

func (f *Front) leave(a Admitted) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[a.Caller.Subject]--; f.open[a.Caller.Subject] == 0 {
		delete(f.open, a.Caller.Subject)
	}
}

// contain keeps a panic from ending the process; then is what it means here.
func (f *Front) contain(then func()) {
	if problem := recover(); problem != nil {
		f.log.Error("connection panicked", "err", problem, "stack", string(debug.Stack()))
		then()
	}
}

// isHandshake tells a WebSocket handshake, perhaps a faulty one, from other
// requests, which get the answer that they get.
func isHandshake(h http.Header) bool {
	return slices.ContainsFunc(tokens(h, "Upgrade"), func(item string) bool { return strings.EqualFold(item, "websocket") })
}

// tokens are the items of a header that is a list (RFC 9110, section 5.6.1), as
// they came.
func tokens(h http.Header, name string) (items []string) {
	for _, value := range h.Values(name) {
		for item := range strings.SplitSeq(value, ",") {
			items = append(items, strings.TrimSpace(item))
		}
	}
	return items
}
