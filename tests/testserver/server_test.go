package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const beServer = "TESTSERVER_TEST_MAIN"

// TestMain lets the test binary be the server, and the server's children, so
// that every test has a real process at the other end of real pipes.
func TestMain(m *testing.M) {
	if os.Getenv(beServer) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// peer is a server process and the client's ends of its pipes.
type peer struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr *bytes.Buffer
}

func start(t *testing.T, flags ...string) *peer {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &peer{t: t, cmd: exec.CommandContext(ctx, os.Args[0], flags...), stderr: &bytes.Buffer{}}
	p.cmd.Env = append(os.Environ(), beServer+"=1")
	p.cmd.Stderr = p.stderr
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout = bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = p.cmd.Wait() // a second Wait is an error, and harmless
	})
	return p
}

// ready starts a server and takes it through the handshake.
func ready(t *testing.T, flags ...string) *peer {
	t.Helper()
	p := start(t, flags...)
	p.handshake(`{}`)
	return p
}

func (p *peer) handshake(capabilities string) {
	p.t.Helper()
	p.send(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":` + capabilities + `}}`)
	p.receive()
	p.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
}

func (p *peer) send(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		p.t.Fatalf("send %q: %v", line, err)
	}
}

func (p *peer) receive() string {
	p.t.Helper()
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		p.t.Fatalf("receive: %v; standard error: %s", err, p.stderr)
	}
	return strings.TrimSuffix(line, "\n")
}

func (p *peer) sendCall(id, tool, arguments string) {
	p.t.Helper()
	p.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, id, tool, arguments))
}

// answer is what a test looks at in a tool's result.
type answer struct {
	ID     json.RawMessage
	Result struct {
		Content           []struct{ Text string }
		StructuredContent json.RawMessage
		IsError           bool
	}
	Error *struct {
		Code    int
		Message string
	}
}

func (p *peer) answer() answer {
	p.t.Helper()
	line := p.receive()
	var a answer
	if err := json.Unmarshal([]byte(line), &a); err != nil {
		p.t.Fatalf("parse %q: %v", line, err)
	}
	return a
}

// call calls a tool and returns its text.
func (p *peer) call(tool, arguments string) (text string, failed bool) {
	p.t.Helper()
	p.sendCall("1", tool, arguments)
	a := p.answer()
	if a.Error != nil || len(a.Result.Content) != 1 {
		p.t.Fatalf("%s: got %+v, want one content", tool, a)
	}
	return a.Result.Content[0].Text, a.Result.IsError
}

func TestServerNegotiatesRevision(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, asked, want string }{
		{"oldest", "2024-11-05", "2024-11-05"},
		{"second", "2025-03-26", "2025-03-26"},
		{"third", "2025-06-18", "2025-06-18"},
		{"newest", "2025-11-25", "2025-11-25"},
		{"unknown", "2099-01-01", "2025-11-25"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := start(t)
			p.send(`{"jsonrpc":"2.0","id":"a","method":"initialize","params":{"protocolVersion":"` + tt.asked + `"}}`)
			var got struct {
				ID     string
				Result struct {
					ProtocolVersion string
					ServerInfo      struct{ Name string }
				}
			}
			if err := json.Unmarshal([]byte(p.receive()), &got); err != nil {
				t.Fatal(err)
			}
			if got.ID != "a" || got.Result.ProtocolVersion != tt.want || got.Result.ServerInfo.Name != "testserver" {
				t.Errorf("got %+v, want revision %s", got, tt.want)
			}
		})
	}
}

func TestServerRefusesBadMessages(t *testing.T) {
	t.Parallel()
	const initialize = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}`
	tests := []struct {
		name   string
		before []string // each is answered, but a notification
		line   string
		want   int
	}{
		{name: "not JSON", line: `{`, want: codeParse},
		{name: "batch", line: `[]`, want: codeParse},
		{name: "nothing", line: `{}`, want: codeInvalidRequest},
		{name: "unknown method", line: `{"id":1,"method":"server/discover"}`, want: codeUnknownMethod},
		{name: "tools before initialize", line: `{"id":1,"method":"tools/list"}`, want: codeInvalidRequest},
		{name: "tools before initialized", before: []string{initialize}, line: `{"id":1,"method":"tools/list"}`, want: codeInvalidRequest},
		{name: "initialize twice", before: []string{initialize}, line: initialize, want: codeInvalidRequest},
		{
			name:   "unknown tool",
			before: []string{initialize, `{"method":"notifications/initialized"}`},
			line:   `{"id":1,"method":"tools/call","params":{"name":"no such"}}`,
			want:   codeInvalidParams,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := start(t)
			for _, line := range tt.before {
				p.send(line)
				if !strings.Contains(line, "notifications/") {
					p.receive()
				}
			}
			p.send(tt.line)
			a := p.answer()
			if a.Error == nil || a.Error.Code != tt.want {
				t.Errorf("got %+v, want error %d", a.Error, tt.want)
			}
			p.send(`{"jsonrpc":"2.0","id":"alive","method":"ping"}`)
			if got, want := p.receive(), `{"jsonrpc":"2.0","id":"alive","result":{}}`; got != want {
				t.Errorf("ping afterwards: got %s, want %s", got, want)
			}
		})
	}
}

func TestServerEndsWithStandardInput(t *testing.T) {
	t.Parallel()
	p := ready(t)
	p.sendCall("1", "hang", `{}`) // what still runs does not hold it back
	p.stdin.Close()
	if _, err := io.ReadAll(p.stdout); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("got %v, want status 0; standard error: %s", err, p.stderr)
	}
}

func TestServerListsEveryTool(t *testing.T) {
	t.Parallel()
	p := ready(t)
	p.send(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	var got struct {
		Result struct {
			Tools []struct {
				Name, Description string
				InputSchema       struct{ Type string }
			}
		}
	}
	if err := json.Unmarshal([]byte(p.receive()), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Result.Tools) != len(tools()) {
		t.Errorf("got %d tools, want %d", len(got.Result.Tools), len(tools()))
	}
	for _, tool := range got.Result.Tools {
		if tool.Name == "" || tool.Description == "" || tool.InputSchema.Type != "object" {
			t.Errorf("got incomplete tool %+v", tool)
		}
	}
}

func TestServerOvertakesAndCancels(t *testing.T) {
	t.Parallel()
	p := ready(t)
	p.sendCall(`"slow"`, "sleep", `{"seconds":3600}`)
	p.sendCall(`"quick"`, "echo", `{}`)
	if got, want := string(p.answer().ID), `"quick"`; got != want {
		t.Fatalf("first answer: got id %s, want %s", got, want)
	}
	p.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"slow"}}`)
	// Counted while the notification is read, so before the next call starts.
	text, _ := p.call("counters", `{}`)
	if want := `{"calls":3,"cancelled":1}`; text != want {
		t.Errorf("counters: got %s, want %s", text, want)
	}
	p.stdin.Close()
	if rest, err := io.ReadAll(p.stdout); err != nil || len(rest) > 0 {
		t.Errorf("after the cancelled call: got %q, %v, want no answer", rest, err)
	}
}
