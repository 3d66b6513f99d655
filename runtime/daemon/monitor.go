package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"mcpgateway/runtime/control"
)

// role is what a peer may be, by its uid.
type role int

const (
	roleProxy role = 1 << iota
	roleAdmin
)

// request is a row of the table: who may send it, and what answers it. slow ones
// run beside the others.
type request struct {
	from   role
	slow   bool
	handle func(*monitor, context.Context, control.Message) (reply, error)
}

// reply is an answer, its descriptors, and what must follow it. A notice gets
// none: its message is empty.
type reply struct {
	message control.Message
	files   []*os.File
	then    func()
}

// requests is the whole attack surface of the daemon, beside control.Conn.Receive.
var requests = map[control.Kind]request{
	control.KindHello:   {from: roleProxy | roleAdmin, handle: (*monitor).answerHello},
	control.KindOpen:    {from: roleProxy, slow: true, handle: (*monitor).answerOpen},
	control.KindStop:    {from: roleProxy | roleAdmin, slow: true, handle: (*monitor).answerStop},
	control.KindFreeze:  {from: roleProxy | roleAdmin, slow: true, handle: (*monitor).answerFreeze},
	control.KindThaw:    {from: roleProxy | roleAdmin, slow: true, handle: (*monitor).answerThaw},
	control.KindReclaim: {from: roleProxy | roleAdmin, slow: true, handle: (*monitor).answerReclaim},
	control.KindList:    {from: roleProxy | roleAdmin, handle: (*monitor).answerList},
	control.KindReload:  {from: roleAdmin, slow: true, handle: (*monitor).answerReload},
	control.KindApplied: {from: roleProxy, handle: (*monitor).takeVerdict},
	control.KindRefused: {from: roleProxy, handle: (*monitor).takeVerdict},

	control.KindCheckpoint: {from: roleProxy, slow: true, handle: (*monitor).answerCheckpoint},
	control.KindRotate:     {from: roleProxy, slow: true, handle: (*monitor).answerRotate},
}

const (
	// maxSlow bounds the slow requests of one peer that run at the same time.
	maxSlow = 16
	// verdictTimeout is how long a proxy has to take a new generation.
	verdictTimeout = 5 * time.Second
)

// monitor serves one connection. Its sandboxes end with it.
type monitor struct {
	daemon   *Daemon
	conn     *control.Conn
	role     role
	greeted  bool        // by hello; only run looks at it
	follows  bool        // another proxy, which may still be there
	chain    string      // of what it audits; set by inform
	informed atomic.Bool // has a generation; reload offers it the next ones
	verdicts chan control.Message
	records  chan string   // of the daemon's own audit log, to be sent on
	ended    chan struct{} // closed when the connection has
}

func newMonitor(d *Daemon, conn *control.Conn) *monitor {
	m := &monitor{daemon: d, conn: conn, verdicts: make(chan control.Message, 1), records: make(chan string, maxRecords), ended: make(chan struct{})}
	switch int(conn.Peer.Uid) {
	case 0:
		m.role = roleAdmin
	case d.options.ProxyUID:
		m.role = roleProxy
	}
	return m
}

// run answers requests until the connection ends, and then ends every sandbox
// that was opened over it.
func (m *monitor) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var handlers sync.WaitGroup
	slots := make(chan struct{}, maxSlow)
	handlers.Go(func() { m.sendRecords(ctx) })
	for {
		message, files, err := m.conn.Receive()
		if len(files) > 0 {
			// No request carries one. Nobody waits for their end: it is up to the peer.
			go closeFiles(files)
			err = errors.New("a request carried descriptors")
		}
		if err == nil {
			err = m.dispatch(ctx, message, slots, &handlers)
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				slog.Error("control connection ended", "peer", m.conn.Peer.Pid, "err", err)
			}
			break
		}
	}
	cancel()
	m.conn.Close()
	close(m.ended)
	handlers.Wait()
	m.daemon.supervisor.killAll(m)
}

// dispatch answers one request. Its error ends the connection.
func (m *monitor) dispatch(ctx context.Context, message control.Message, slots chan struct{}, handlers *sync.WaitGroup) error {
	r, known := requests[message.Kind]
	if !known || r.from&m.role == 0 {
		m.daemon.book.Refused(eventRequestRefused, "pid", m.conn.Peer.Pid, "uid", m.conn.Peer.Uid, "request", fmt.Sprintf("%.32q", message.Kind))
		return fmt.Errorf("request %.32q is not permitted to uid %d", message.Kind, m.conn.Peer.Uid)
	}
	if !m.greeted && message.Kind != control.KindHello {
		return fmt.Errorf("request %q came before hello", message.Kind)
	}
	if !r.slow {
		return m.answer(ctx, r, message)
	}
	slots <- struct{}{}
	handlers.Go(func() {
		defer func() { <-slots }()
		if err := m.answer(ctx, r, message); err != nil {
			slog.Error("answer", "peer", m.conn.Peer.Pid, "err", err)
			m.conn.Close()
		}
	})
	return nil
}

func (m *monitor) answer(ctx context.Context, r request, message control.Message) error {
	answer, err := r.handle(m, ctx, message)
	m.recordAct(message, err)
	defer closeFiles(answer.files)
	var refusal *control.Error
	switch {
	case errors.As(err, &refusal):
		answer.message = control.Message{Kind: control.KindError, Code: refusal.Code, Text: cut(refusal.Text)}
	case err != nil:
		return err
	case answer.message.Kind == "":
		return nil
	}
	answer.message.ID = message.ID
	err = m.conn.Send(answer.message, answer.files...)
	if answer.then != nil {
		answer.then()
	}
	if err != nil {
		return fmt.Errorf("answer %q: %w", message.Kind, err)
	}
	return nil
}

// cut bounds a text that goes into a packet.
func cut(text string) string {
	const longest = 8 << 10
	if len(text) > longest {
		return text[:longest] + "…"
	}
	return text
}

func (m *monitor) answerHello(_ context.Context, message control.Message) (reply, error) {
	if m.greeted {
		return reply{}, errors.New("hello came twice")
	}
	if message.Version != control.Version {
		return reply{}, &control.Error{
			Code: control.CodeVersion,
			Text: fmt.Sprintf("the daemon speaks control version %d, not %d: install the same version of all binaries", control.Version, message.Version),
		}
	}
	m.greeted = true
	hello := reply{message: control.Message{Kind: control.KindHello, Version: control.Version, Generation: m.daemon.current.Load().number}}
	if m.role == roleProxy {
		hello.then = m.inform
	}
	return hello, nil
}

// inform sends a new proxy the current generation. A reload that is under way
// comes first, so that none is missed.
func (m *monitor) inform() {
	m.daemon.reloadMu.Lock()
	defer m.daemon.reloadMu.Unlock()
	chain, err := m.daemon.book.Begin(m.follows)
	m.chain = chain
	if err == nil {
		m.daemon.book.Record(eventProxy, "pid", m.conn.Peer.Pid, "uid", m.conn.Peer.Uid, "chain", chain)
		err = m.send(m.daemon.current.Load())
	}
	if err != nil {
		slog.Error("send policy", "peer", m.conn.Peer.Pid, "err", err)
		m.conn.Close()
		return
	}
	m.informed.Store(true)
}

func (m *monitor) answerOpen(ctx context.Context, message control.Message) (reply, error) {
	ctx = control.WithCorrelation(ctx, message.Trace)
	generation := m.daemon.starting(message.Server, message.Revision)
	server, ok := generation.config.Servers[message.Server]
	if !ok || !server.Enabled {
		return reply{}, &control.Error{Code: control.CodeUnknownServer, Text: fmt.Sprintf("no enabled server is named %.64q", message.Server)}
	}
	if err := m.daemon.book.Blocked(); err != nil {
		return reply{}, &control.Error{Code: control.CodeLimit, Text: err.Error()}
	}
	o := m.daemon.orderOf(generation, message.Server)
	i, streams, err := m.daemon.supervisor.open(ctx, m, o)
	if err != nil {
		slog.WarnContext(ctx, "open refused", "server", message.Server, "project", server.Project, "err", err)
		m.daemon.book.Refused(eventSandboxRefused, "server", message.Server, "correlation", message.Trace, "reason", err.Error())
		return reply{}, err
	}
	network := i.Network()
	return reply{
		message: control.Message{Kind: control.KindOpened, Sandbox: i.ID(), Revision: o.revision, Network: len(network)},
		files:   append(streams, network...),
		then:    func() { close(i.told) },
	}, nil
}

func (m *monitor) answerStop(_ context.Context, message control.Message) (reply, error) {
	return m.toSandbox(message.Sandbox, (*instance).end)
}

func (m *monitor) answerFreeze(_ context.Context, message control.Message) (reply, error) {
	return m.toSandbox(message.Sandbox, (*instance).Freeze)
}

func (m *monitor) answerThaw(_ context.Context, message control.Message) (reply, error) {
	return m.toSandbox(message.Sandbox, (*instance).Thaw)
}

func (m *monitor) answerReclaim(_ context.Context, message control.Message) (reply, error) {
	return m.toSandbox(message.Sandbox, func(i *instance) error { return i.Reclaim(message.Bytes) })
}

// toSandbox does something to a sandbox that the peer may see.
func (m *monitor) toSandbox(id string, do func(*instance) error) (reply, error) {
	i, err := m.daemon.supervisor.find(m, id)
	if err != nil {
		return reply{}, err
	}
	if err := do(i); err != nil {
		return reply{}, &control.Error{Code: control.CodeRefused, Text: err.Error()}
	}
	return reply{message: control.Message{Kind: control.KindDone}}, nil
}

func (m *monitor) answerList(_ context.Context, _ control.Message) (reply, error) {
	document, err := json.Marshal(m.daemon.supervisor.list(m))
	if err != nil {
		return reply{}, err
	}
	file, err := control.NewSealed("list", document)
	return reply{message: control.Message{Kind: control.KindList}, files: []*os.File{file}}, err
}

func (m *monitor) answerReload(_ context.Context, _ control.Message) (reply, error) {
	if err := m.daemon.Reload(); err != nil {
		return reply{}, &control.Error{Code: control.CodeReload, Text: err.Error()}
	}
	return reply{message: control.Message{Kind: control.KindDone}}, nil
}

// takeVerdict passes on what a proxy says of a generation. The last counts: one before it
// that nobody has taken yet is of an earlier generation. One that nobody waits for stays
// until the next offer.
func (m *monitor) takeVerdict(_ context.Context, message control.Message) (reply, error) {
	if message.Kind == control.KindRefused {
		slog.Error("the proxy refused the configuration", "generation", message.Generation, "err", fmt.Sprintf("%.1024q", message.Text))
	}
	select {
	case <-m.verdicts:
	default:
	}
	m.verdicts <- message // there is room: run alone fills it
	return reply{}, nil
}

// offer sends a proxy a generation and waits for its verdict. A peer without one,
// such as an administrator, gets none.
func (m *monitor) offer(g *generation) error {
	if !m.informed.Load() {
		return nil
	}
	select {
	case <-m.verdicts: // of an earlier generation
	default:
	}
	if err := m.send(g); err != nil {
		return nil // the connection has ended
	}
	timeout := time.After(verdictTimeout)
	for {
		select {
		case verdict := <-m.verdicts:
			switch {
			case verdict.Generation != g.number:
			case verdict.Kind == control.KindRefused:
				return fmt.Errorf("%.1024q", verdict.Text)
			default:
				return nil
			}
		case <-m.ended:
			return nil
		case <-timeout:
			slog.Error("the proxy says nothing of a new configuration: cut off", "peer", m.conn.Peer.Pid, "generation", g.number)
			m.conn.Close()
			return nil
		}
	}
}

func (m *monitor) send(g *generation) error {
	file, err := control.NewSealed("policy", g.document)
	if err != nil {
		return err
	}
	defer file.Close()
	log, audit, err := m.auditLog(g)
	if err != nil {
		return err
	}
	defer closeFiles(audit)
	return m.conn.Send(control.Message{Kind: control.KindPolicy, Generation: g.number, Log: log}, append([]*os.File{file}, audit...)...)
}
