package bridge

import (
	"context"
	"strings"
	"sync"

	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// Stateless serves requests of the stateless era from a process of the handshake
// era, whose client is the gateway. All requests of all callers pass through the
// one session with the process; what each of them wants to hear is kept apart.
type Stateless struct {
	conn   *backend.Conn
	info   []byte // the server's own description; nil if it gave none
	levels levels
	inputs inputs
	topics topics
}

// NewStateless returns the translation for a process that
// backend.Pool.StartInitialized has started.
func NewStateless(conn *backend.Conn) *Stateless {
	hello := conn.Hello()
	return &Stateless{
		conn:   conn,
		info:   hello.At(hello.InResult("serverInfo")),
		inputs: inputs{waiting: map[string]*input{}},
		topics: topics{users: map[string]int{}},
	}
}

// Do passes a request on, as link.Server does. Callers of different owners see
// nothing of each other.
func (s *Stateless) Do(ctx context.Context, owner string, request mcp.Message) (link.Call, error) {
	method := request.Method()
	switch {
	case method == mcp.MethodDiscover:
		return link.Answered(s.discovered(request.ID())), nil
	case method == mcp.MethodListen:
		return s.listen(ctx, request)
	case mcp.HandshakeOnly(method), strings.HasPrefix(method, "tasks/"): // tasks are an extension now, and another one
		return link.Answered(mcp.NewError(request.ID(), mcp.CodeMethodNotFound, "method not found: revision "+mcp.Revision2026July+" has no "+method, nil)), nil
	}
	level, wanted := request.Text(request.Param("_meta", mcp.MetaLogLevel))
	if wanted && severity(level) < 0 {
		return link.Answered(mcp.NewError(request.ID(), mcp.CodeInvalidParams, "the log level is none of debug, info, notice, warning, error, critical, alert, emergency", nil)), nil
	}
	if text := unfitInput(request); text != "" {
		return link.Answered(mcp.NewError(request.ID(), mcp.CodeInvalidParams, text, nil)), nil
	}
	if state := request.Param("requestState"); !state.Empty() && asks(method) {
		return s.resume(ctx, owner, request)
	}
	return s.pass(ctx, owner, request)
}

// pass makes a call of a request.
func (s *Stateless) pass(ctx context.Context, owner string, request mcp.Message) (link.Call, error) {
	level, wanted := request.Text(request.Param("_meta", mcp.MetaLogLevel))
	if wanted {
		s.raise(ctx, level)
	}
	call, err := s.conn.Ask(ctx, toHandshake(request), backend.Wants{Owner: owner, Logs: wanted, Input: asks(request.Method())})
	if err != nil {
		return nil, err
	}
	return s.leg(call, owner, request), nil
}

func (s *Stateless) leg(call *backend.Call, owner string, request mcp.Message) *leg {
	level, _ := request.Text(request.Param("_meta", mcp.MetaLogLevel))
	return &leg{Call: call, bridge: s, owner: owner, request: request, level: severity(level)}
}

// toHandshake takes from a request what the handshake era says once, in initialize.
func toHandshake(request mcp.Message) mcp.Message {
	if meta := request.Param("_meta"); !meta.Empty() {
		request = request.Replace(meta, mcp.Without(request.At(meta),
			mcp.MetaRevision, mcp.MetaClientInfo, mcp.MetaCapabilities, mcp.MetaLogLevel))
	}
	if !request.Param("inputResponses").Empty() || !request.Param("requestState").Empty() {
		request = request.WithParams(mcp.Without(request.Params(), "inputResponses", "requestState"))
	}
	return request
}

// discovered makes the answer to server/discover of the server's answer to
// initialize.
func (s *Stateless) discovered(id []byte) mcp.Message {
	hello := s.conn.Hello()
	// The gateway's, which serves sessions at the same address.
	result := append([]byte(`{"supportedVersions":`), mcp.RevisionList()...)
	result = append(result, `,"capabilities":`...)
	// Tasks are an extension in the stateless era, and another one.
	result = append(result, mcp.Without(hello.At(hello.InResult("capabilities")), "tasks")...)
	if text := hello.InResult("instructions"); !text.Empty() {
		result = append(append(result, `,"instructions":`...), hello.At(text)...)
	}
	return mcp.NewResult(id, append(result, '}')).Complete(mcp.MethodDiscover, s.info)
}

// levels is how much the process has been told to log. It has one level for all
// its callers; each of them gets what it asked for.
type levels struct {
	mu  sync.Mutex
	set int // severity, from 1; 0: never set
}

// severities of the handshake era and of the stateless one, by growing severity
// (RFC 5424).
func severity(level string) int {
	for i, name := range [...]string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"} {
		if name == level {
			return i
		}
	}
	return -1
}

// raise makes the process log as much as a caller wants, if it does not yet. The
// answer is not waited for: the process reads its requests in their order.
func (s *Stateless) raise(ctx context.Context, level string) {
	s.levels.mu.Lock()
	defer s.levels.mu.Unlock()
	wanted := severity(level) + 1
	hello := s.conn.Hello()
	if hello.InResult("capabilities", "logging").Empty() || (s.levels.set != 0 && s.levels.set <= wanted) {
		return
	}
	params := append(append([]byte(`{"level":`), mcp.Quote(level)...), '}')
	call, err := s.conn.Ask(ctx, mcp.NewRequest([]byte("0"), mcp.MethodSetLevel, params), backend.Wants{})
	if err != nil { // the request itself will say so
		return
	}
	call.Detach()
	s.levels.set = wanted
}
