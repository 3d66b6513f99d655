package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// maxAnswer bounds what a test reads of one answer.
const maxAnswer = 64 << 20

// session is an MCP session of the handshake era, made of plain HTTP requests so
// that every byte is the test's own.
type session struct {
	url, key, id string
}

// answer is what came back for one request.
type answer struct {
	status  int
	header  http.Header
	message []byte // the response, be it the body or the last event of a stream
}

// at is a session that is not open yet.
func (g *gateway) at(server string) *session {
	return &session{url: g.addresses.HTTP + "/servers/" + server + "/mcp", key: g.addresses.Key}
}

const initialize = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"e2e","version":"1"}}}`

// open opens a session with a server. It ends with the test.
func (g *gateway) open(t *testing.T, server string) *session {
	t.Helper()
	s := g.at(server)
	if a := s.open(t); a.status != http.StatusOK || s.id == "" {
		t.Fatalf("open a session with %q: got status %d, session %q: %s", server, a.status, s.id, a.message)
	}
	t.Cleanup(func() {
		if s.id != "" {
			s.do(t, http.MethodDelete, "", nil) // an ended one answers 404
		}
	})
	return s
}

func (s *session) open(t *testing.T) answer {
	t.Helper()
	a := s.post(t, initialize)
	if s.id = a.header.Get("Mcp-Session-Id"); s.id != "" {
		if noted := s.post(t, `{"jsonrpc":"2.0","method":"notifications/initialized"}`); noted.status != http.StatusAccepted {
			t.Errorf("notifications/initialized: got status %d, want %d", noted.status, http.StatusAccepted)
		}
	}
	return a
}

// end ends the session, and with it the server.
func (s *session) end(t *testing.T) {
	t.Helper()
	if a := s.do(t, http.MethodDelete, "", nil); a.status != http.StatusNoContent {
		t.Errorf("end the session: got status %d, want %d: %s", a.status, http.StatusNoContent, a.message)
	}
	s.id = ""
}

func (s *session) post(t *testing.T, body string) answer {
	t.Helper()
	return s.do(t, http.MethodPost, body, nil)
}

// do sends one request. Headers win over the session's own; "Host" is the host.
func (s *session) do(t *testing.T, method, body string, headers map[string]string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, s.url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	h := request.Header
	h.Set("Accept", "application/json, text/event-stream")
	h.Set("Content-Type", "application/json")
	if s.key != "" {
		h.Set("Authorization", "Bearer "+s.key)
	}
	if s.id != "" {
		h.Set("Mcp-Session-Id", s.id)
		h.Set("Mcp-Protocol-Version", "2025-11-25")
	}
	for name, value := range headers {
		h.Set(name, value)
	}
	request.Host = h.Get("Host")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, s.url, err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		t.Fatalf("%s %s: %v", method, s.url, err)
	}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		content = lastEvent(content)
	}
	return answer{response.StatusCode, response.Header, bytes.TrimSpace(content)}
}

// lastEvent is the data of the last event of a stream (HTML, server-sent events).
func lastEvent(stream []byte) (data []byte) {
	for line := range bytes.Lines(stream) {
		if rest, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			data = rest
		}
	}
	return data
}

// call calls a tool with arguments in JSON.
func (s *session) call(t *testing.T, tool, arguments string) answer {
	t.Helper()
	return s.post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, tool, arguments))
}

// ask calls a tool that must answer well and returns its text.
func (s *session) ask(t *testing.T, tool string, arguments any) string {
	t.Helper()
	text, failed := s.try(t, tool, arguments)
	if failed {
		t.Fatalf("tool %s %v: it failed: %s", tool, arguments, text)
	}
	return text
}

// try calls a tool and returns its text, and whether the tool itself says that it
// failed.
func (s *session) try(t *testing.T, tool string, arguments any) (text string, failed bool) {
	t.Helper()
	encoded, err := json.Marshal(arguments)
	if err != nil {
		t.Fatal(err)
	}
	a := s.call(t, tool, string(encoded))
	var m struct {
		Result *struct {
			Content []struct{ Text string }
			IsError bool
		}
	}
	if err := json.Unmarshal(a.message, &m); err != nil || a.status != http.StatusOK || m.Result == nil || len(m.Result.Content) != 1 {
		t.Fatalf("tool %s %s: got status %d, %.2000s, want a result (%v)", tool, encoded, a.status, a.message, err)
	}
	return m.Result.Content[0].Text, m.Result.IsError
}

// rpcError is the JSON-RPC error of an answer that must be one, for the request
// with the given id.
func (a answer) rpcError(t *testing.T, id string) (code int, text string) {
	t.Helper()
	var m struct {
		JSONRPC string
		ID      json.RawMessage
		Error   *struct {
			Code    int
			Message string
		}
	}
	if err := json.Unmarshal(a.message, &m); err != nil || m.JSONRPC != "2.0" || m.Error == nil {
		t.Fatalf("got status %d, %.2000q, want a JSON-RPC error (%v)", a.status, a.message, err)
	}
	if string(m.ID) != id {
		t.Errorf("the error's id: got %s, want %s", m.ID, id)
	}
	return m.Error.Code, m.Error.Message
}
