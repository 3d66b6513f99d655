package wsfront

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/mcp"
)

// connection is one client's connection.
type connection struct {
	*Front
	Admitted
	conn   *websocket.Conn
	pace   *pacedConn
	duplex *gate.Duplex
	end    context.CancelCauseFunc // with the first cause, an *ending where the client is told
	busy   atomic.Bool             // what the client sent is being passed on: nobody hears it

	running sync.WaitGroup
}

// ending is a cause of a connection's end that its client is told (RFC 6455,
// section 7.4.1).
type ending struct {
	code   websocket.StatusCode
	reason string // at most 123 bytes
}

func (e *ending) Error() string { return e.reason }

// What clients are told.
var (
	errNotText   = &ending{websocket.StatusUnsupportedData, "messages must be text"}
	errNotUTF8   = &ending{websocket.StatusInvalidFramePayloadData, "a text message is not UTF-8"}
	errRevoked   = &ending{websocket.StatusPolicyViolation, "the key is no longer valid for this address"}
	errSession   = &ending{websocket.StatusServiceRestart, "the session has ended"}
	errShutdown  = &ending{websocket.StatusGoingAway, "the gateway is stopping"}
	errInternal  = &ending{websocket.StatusInternalError, "internal error"}
	errHearsNone = errors.New("the client does not answer")
)

// serve serves a connection to its end.
func (f *Front) serve(conn *websocket.Conn, pace *pacedConn, a Admitted) {
	ctx, end := context.WithCancelCause(context.Background())
	c := &connection{
		Front: f, Admitted: a, conn: conn, pace: pace, end: end,
		duplex: gate.NewDuplex(a.Origin, a.Caller, a.Scope, a.Gate),
	}
	// A message is measured while it is read, so that its sender can be told.
	conn.SetReadLimit(-1)
	start := func(actor func(context.Context) error) <-chan struct{} {
		done := make(chan struct{})
		c.running.Go(func() {
			defer close(done)
			defer f.contain(func() { end(errInternal) })
			end(actor(ctx))
		})
		return done
	}
	start(func(context.Context) error { return c.read() })
	written := start(c.write)
	start(c.watch)
	<-ctx.Done()
	c.close(context.Cause(ctx), written)
	c.duplex.Close()
	c.running.Wait()
}

// close ends the connection, and tells the client why if it may listen.
func (c *connection) close(cause error, written <-chan struct{}) {
	told, ok := cause.(*ending) //nolint:errorlint // an actor's own, as it is
	if !ok {
		_ = c.conn.CloseNow()
		return
	}
	patience := time.NewTimer(c.times.close)
	defer patience.Stop()
	select {
	case <-written:
	case <-patience.C:
	}
	_ = c.conn.Close(told.code, told.reason)
}

// read passes on what the client sends. While it can't, it does not read, and the
// client can't send. It goes on until the connection is closed: the client's own
// part of the end is read, too.
func (c *connection) read() error {
	// With a message that has begun. A context would cost much more: the library has it
	// looked after anew for each part of a message.
	patience := time.AfterFunc(c.times.message, func() { _ = c.conn.CloseNow() })
	patience.Stop()
	defer patience.Stop()
	for {
		data, err := c.message(patience)
		if err != nil {
			return err
		}
		c.busy.Store(true)
		c.duplex.Receive(data)
		c.pace.hear() // meanwhile nobody listened
		c.busy.Store(false)
	}
}

// message reads one message. The patience with it ends the connection.
func (c *connection) message(patience *time.Timer) ([]byte, error) {
	kind, reader, err := c.conn.Reader(context.Background())
	if err != nil {
		return nil, err
	}
	if kind != websocket.MessageText {
		return nil, errNotText
	}
	patience.Reset(c.times.message)
	defer patience.Stop()
	data, err := io.ReadAll(io.LimitReader(reader, c.MaxMessage+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(data)) > c.MaxMessage:
		return nil, &ending{websocket.StatusMessageTooBig, fmt.Sprintf("the message is larger than %d bytes, the limit", c.MaxMessage)}
	case !utf8.Valid(data):
		return nil, errNotUTF8
	}
	return data, nil
}

// write writes what there is for the client.
func (c *connection) write(ctx context.Context) error {
	for {
		select {
		case m := <-c.duplex.Out():
			if err := c.put(m); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// put writes one message. What is being written when the connection ends is
// written to its end, so the context is not the connection's.
func (c *connection) put(m mcp.Message) error {
	rest := m.Raw()
	if len(rest) <= chunk {
		return c.conn.Write(context.Background(), websocket.MessageText, rest)
	}
	// In parts, for pongs to come between them.
	w, err := c.conn.Writer(context.Background(), websocket.MessageText)
	if err != nil {
		return err
	}
	for len(rest) > 0 {
		n := min(len(rest), chunk)
		if _, err := w.Write(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return w.Close()
}

// watch waits for what ends a connection that its client does not end, and keeps
// it alive.
func (c *connection) watch(ctx context.Context) error {
	beat := time.NewTicker(c.times.beat)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
			if !c.Allowed() {
				return errRevoked
			}
			if c.pace.silent() > c.times.silence && !c.busy.Load() {
				return errHearsNone
			}
			// That it was answered shows as something heard.
			c.running.Go(c.ping)
		case <-c.duplex.Done():
			return errSession
		case <-c.Closing:
			return errShutdown
		case <-ctx.Done():
			return nil
		}
	}
}

// ping waits for the pong, or for the end of the connection.
func (c *connection) ping() {
	ctx, cancel := context.WithTimeout(context.Background(), c.times.silence)
	defer cancel()
	_ = c.conn.Ping(ctx)
}
