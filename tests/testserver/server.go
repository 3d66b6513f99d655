package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"sync"
)

const (
	maxLine  = 64 << 20 // bytes of one message
	maxCalls = 1024     // tool calls at a time
)

// JSON-RPC 2.0, section 5.1.
const (
	codeParse          = -32700
	codeInvalidRequest = -32600
	codeUnknownMethod  = -32601
	codeInvalidParams  = -32602
	codeInternal       = -32603
)

// errNoAnswer ends a call without an answer.
var errNoAnswer = errors.New("no answer")

// message is any JSON-RPC message. Its parts stay the bytes they came as.
type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

// server is one session over a pair of streams.
type server struct {
	in     io.Reader
	out    *os.File
	stderr io.Writer
	calls  sync.WaitGroup

	outMu sync.Mutex

	mu        sync.Mutex
	phase     phase
	sampling  bool // the client offers it
	inflight  map[string]context.CancelFunc
	waiting   map[string]chan message // requests to the client, by id
	lastID    int
	started   int
	cancelled int
	deaf      bool
	pull      *int     // lists until the rug is pulled; nil: never
	hides     bool     // text that people do not see
	hoard     [][]byte // what the tool memory keeps
}

type phase int

const (
	phaseNew phase = iota
	phaseInitialize
	phaseReady
)

func newServer(in io.Reader, out *os.File, stderr io.Writer) *server {
	return &server{
		in: in, out: out, stderr: stderr,
		inflight: map[string]context.CancelFunc{},
		waiting:  map[string]chan message{},
	}
}

// serve answers messages until standard input ends, then ends every call.
func (s *server) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.calls.Wait()
	defer cancel()
	lines := bufio.NewScanner(s.in)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if err := s.receive(ctx, lines.Bytes()); err != nil {
			return err
		}
		if s.isDeaf() {
			stayAlive()
		}
	}
	return lines.Err()
}

// receive handles one line. Its bytes are not kept.
func (s *server) receive(ctx context.Context, line []byte) error {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return s.fail(nil, codeParse, "parse message: "+err.Error())
	}
	switch {
	case m.Method == "" && m.ID == nil:
		return s.fail(nil, codeInvalidRequest, "message has neither a method nor an id")
	case m.Method == "":
		s.deliver(m)
		return nil
	case m.ID == nil:
		s.notice(m)
		return nil
	}
	return s.request(ctx, m)
}

// notice handles a notification; an unknown one is ignored.
func (s *server) notice(m message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch m.Method {
	case "notifications/initialized":
		if s.phase == phaseInitialize {
			s.phase = phaseReady
		}
	case "notifications/cancelled":
		var params struct {
			RequestID json.RawMessage `json:"requestId"`
		}
		if json.Unmarshal(m.Params, &params) != nil {
			return
		}
		if cancel, ok := s.inflight[string(params.RequestID)]; ok {
			s.cancelled++
			cancel()
		}
	}
}

func (s *server) request(ctx context.Context, m message) error {
	switch m.Method {
	case "ping":
		return s.answer(m.ID, []byte("{}"))
	case "initialize":
		return s.initialize(m)
	case "tools/list", "tools/call":
	default:
		return s.fail(m.ID, codeUnknownMethod, "method not found: "+m.Method)
	}
	s.mu.Lock()
	ready := s.phase == phaseReady
	s.mu.Unlock()
	if !ready {
		return s.fail(m.ID, codeInvalidRequest, m.Method+" before initialize and notifications/initialized")
	}
	if m.Method == "tools/list" {
		return s.list(m)
	}
	return s.startCall(ctx, m)
}

// revisions that the server speaks, the newest last.
func revisions() []string {
	return []string{"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"}
}

// initialize agrees on the client's revision if it is known, else on the newest
// (2025-11-25, basic/lifecycle, version negotiation).
func (s *server) initialize(m message) error {
	var params struct {
		ProtocolVersion string `json:"protocolVersion"`
		Capabilities    struct {
			Sampling json.RawMessage `json:"sampling"`
		} `json:"capabilities"`
	}
	if err := json.Unmarshal(m.Params, &params); err != nil {
		return s.fail(m.ID, codeInvalidParams, "parse initialize: "+err.Error())
	}
	s.mu.Lock()
	again := s.phase != phaseNew
	if !again {
		s.phase = phaseInitialize
		s.sampling = params.Capabilities.Sampling != nil
	}
	tells, instructions := s.pull != nil, "be kind"
	if s.hides {
		instructions += hiddenText
	}
	s.mu.Unlock()
	if again {
		return s.fail(m.ID, codeInvalidRequest, "initialize was sent before")
	}
	version := params.ProtocolVersion
	if known := revisions(); !slices.Contains(known, version) {
		version = known[len(known)-1]
	}
	offered := map[string]any{}
	if tells {
		offered["listChanged"] = true
	}
	return s.answer(m.ID, encode(map[string]any{
		"protocolVersion": version,
		"capabilities":    map[string]any{"tools": offered},
		"serverInfo":      map[string]any{"name": "testserver", "version": "1"},
		"instructions":    instructions,
	}))
}

// list answers with the tools, and says that they have changed if it was the last time
// before the rug is pulled.
func (s *server) list(m message) error {
	s.mu.Lock()
	changed, last := s.pull != nil && *s.pull <= 0, s.pull != nil && *s.pull == 1
	if s.pull != nil {
		*s.pull--
	}
	hides := s.hides
	s.mu.Unlock()
	if err := s.answer(m.ID, toolList(changed, hides)); err != nil || !last {
		return err
	}
	return s.tellListChanged()
}

func (s *server) tellListChanged() error {
	return s.write(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
}

// startCall runs one tool in a goroutine of its own, so that it can be
// cancelled and others can overtake it.
func (s *server) startCall(ctx context.Context, m message) error {
	var params struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
		Meta      json.RawMessage `json:"_meta"`
	}
	if err := json.Unmarshal(m.Params, &params); err != nil {
		return s.fail(m.ID, codeInvalidParams, "parse tools/call: "+err.Error())
	}
	t, ok := findTool(params.Name)
	if !ok {
		return s.fail(m.ID, codeInvalidParams, "unknown tool: "+params.Name)
	}
	c := call{server: s, arguments: params.Arguments, meta: params.Meta}
	if meta := (struct {
		ProgressToken json.RawMessage `json:"progressToken"`
	}{}); len(params.Meta) > 0 {
		if err := json.Unmarshal(params.Meta, &meta); err != nil {
			return s.fail(m.ID, codeInvalidParams, "parse _meta: "+err.Error())
		}
		c.progressToken = meta.ProgressToken
	}
	if len(c.arguments) == 0 || string(c.arguments) == "null" {
		c.arguments = []byte("{}")
	}
	ctx, unregister, err := s.register(ctx, m.ID)
	if err != nil {
		return s.fail(m.ID, codeInternal, err.Error())
	}
	if t.inline {
		return s.finishCall(ctx, unregister, m.ID, t, c)
	}
	s.calls.Go(func() {
		if err := s.finishCall(ctx, unregister, m.ID, t, c); err != nil {
			fmt.Fprintln(s.stderr, "testserver:", err)
		}
	})
	return nil
}

func (s *server) register(ctx context.Context, id json.RawMessage) (context.Context, func(), error) {
	key := string(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, used := s.inflight[key]; used {
		return nil, nil, fmt.Errorf("request id %s is in use", key)
	}
	if len(s.inflight) >= maxCalls {
		return nil, nil, fmt.Errorf("more than %d calls at a time", maxCalls)
	}
	ctx, cancel := context.WithCancel(ctx)
	s.inflight[key] = cancel
	s.started++
	return ctx, func() {
		cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.inflight, key)
	}, nil
}

// finishCall runs a tool and answers. The id is free again before the answer is
// out: the client may use it at once.
func (s *server) finishCall(ctx context.Context, unregister func(), id json.RawMessage, t tool, c call) error {
	r, err := t.run(ctx, c)
	silent := errors.Is(err, errNoAnswer) || ctx.Err() != nil
	unregister()
	if silent {
		return nil
	}
	if err != nil {
		r = result{text: err.Error(), failed: true}
	}
	return s.answer(id, r.encode())
}

func (s *server) isDeaf() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deaf
}

// ask sends a request to the client and waits for its answer.
func (s *server) ask(ctx context.Context, method string, params []byte) (message, error) {
	reply := make(chan message, 1)
	s.mu.Lock()
	s.lastID++
	id := strconv.Quote("testserver-" + strconv.Itoa(s.lastID))
	s.waiting[id] = reply
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.waiting, id)
	}()
	if err := s.write(`{"jsonrpc":"2.0","id":`, id, `,"method":"`, method, `","params":`, string(params), `}`); err != nil {
		return message{}, err
	}
	select {
	case m := <-reply:
		return m, nil
	case <-ctx.Done():
		return message{}, ctx.Err()
	}
}

// deliver hands an answer to the call that waits for it; a stray one is dropped.
func (s *server) deliver(m message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reply, ok := s.waiting[string(m.ID)]; ok {
		delete(s.waiting, string(m.ID))
		reply <- m
	}
}

func (s *server) answer(id json.RawMessage, result []byte) error {
	return s.write(`{"jsonrpc":"2.0","id":`, string(id), `,"result":`, string(result), `}`)
}

func (s *server) fail(id json.RawMessage, code int, text string) error {
	if id == nil {
		id = []byte("null")
	}
	return s.write(`{"jsonrpc":"2.0","id":`, string(id), `,"error":`, string(encode(map[string]any{"code": code, "message": text})), `}`)
}

// write sends one line. It joins texts instead of marshalling: encoding/json
// would rewrite the bytes of a RawMessage.
func (s *server) write(parts ...string) error {
	var line bytes.Buffer
	for _, p := range parts {
		line.WriteString(p)
	}
	line.WriteByte('\n')
	s.outMu.Lock()
	defer s.outMu.Unlock()
	_, err := s.out.Write(line.Bytes())
	return err
}

// encode marshals a value of this package's own making, which cannot fail.
func encode(v any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
