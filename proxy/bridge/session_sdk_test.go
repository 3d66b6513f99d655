package bridge

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"mcpgateway/proxy/hub"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// A server and a client that nobody here wrote, the one stateless and the other
// not, do together what either era can.
func TestGoSDK(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "everything-server")
	build := exec.Command("go", "build", "-o", binary, "github.com/modelcontextprotocol/go-sdk/conformance/everything-server")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, revision := range []string{"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"} {
		t.Run(revision, func(t *testing.T) {
			t.Parallel()
			heard := make(chan string, 100)
			client := connect(t, caller{hub.New(startProcess(t, binary))}, revision, heard)
			if got := client.InitializeResult(); got.ServerInfo.Name != "mcp-conformance-test-server" || got.ProtocolVersion != revision {
				t.Errorf("got %+v", got)
			}
			tools, err := client.ListTools(t.Context(), nil)
			if err != nil || len(tools.Tools) < 20 {
				t.Errorf("got tools %+v, %v", tools, err)
			}
			for tool, want := range map[string]string{
				"test_simple_text":                      "This is a simple text response for testing.",
				"test_input_required_result_sampling":   "Sampling response: from the client",
				"test_input_required_result_list_roots": "Client exposed 1 root(s): file:///here",
			} {
				if got := callTool(t, client, tool); got != want {
					t.Errorf("%s: got %q, want %q", tool, got, want)
				}
			}
			asksPeople(t, client, revision >= "2025-06-18")
			hears(t, client, heard)
			if _, err := client.ReadResource(t.Context(), &sdk.ReadResourceParams{URI: "test://none"}); err == nil || !strings.Contains(err.Error(), "esource not found") {
				t.Errorf("got error %v, want that there is no such resource", err)
			}
		})
	}
}

// asksPeople uses tools and a prompt that need an answer of a person.
func asksPeople(t *testing.T, client *sdk.ClientSession, able bool) {
	t.Helper()
	if !able {
		_, err := client.CallTool(t.Context(), &sdk.CallToolParams{Name: "test_input_required_result_elicitation"})
		if err == nil || !strings.Contains(err.Error(), "not offered") {
			t.Errorf("got error %v, want that the client does not offer it", err)
		}
		return
	}
	for tool, want := range map[string]string{
		"test_input_required_result_elicitation":     "Hello, Ada!",
		"test_input_required_result_request_state":   "state-ok: requestState received and confirmation accepted",
		"test_input_required_result_multi_round":     "Multi-round complete: Ada likes red",
		"test_input_required_result_multiple_inputs": "from the client Ada — 1 root(s) visible",
		"test_input_required_result_capabilities":    "Capability-aware input requests fulfilled",
	} {
		if got := callTool(t, client, tool); got != want {
			t.Errorf("%s: got %q, want %q", tool, got, want)
		}
	}
	prompt, err := client.GetPrompt(t.Context(), &sdk.GetPromptParams{Name: "test_input_required_result_prompt"})
	if err != nil || prompt.Messages[0].Content.(*sdk.TextContent).Text != "Context: here" {
		t.Errorf("got prompt %+v, %v", prompt, err)
	}
}

// hears has the server send each kind of notification.
func hears(t *testing.T, client *sdk.ClientSession, heard <-chan string) {
	t.Helper()
	await := func(want string) {
		t.Helper()
		for got := range heard {
			if got == want {
				return
			}
		}
	}
	progress := &sdk.CallToolParams{Name: "test_tool_with_progress"}
	progress.SetProgressToken("token")
	if _, err := client.CallTool(t.Context(), progress); err != nil {
		t.Error(err)
	}
	await("progress 100")
	callTool(t, client, "test_tool_with_logging")
	await("logged info")
	// What the server offers is told as soon as it has acknowledged; a call of its
	// own makes sure that it has.
	if err := client.Subscribe(t.Context(), &sdk.SubscribeParams{URI: "test://watched-resource"}); err != nil {
		t.Error(err)
	}
	callTool(t, client, "test_trigger_tool_change")
	await("tools changed")
	await("updated test://watched-resource")
	if err := client.Unsubscribe(t.Context(), &sdk.UnsubscribeParams{URI: "test://watched-resource"}); err != nil {
		t.Error(err)
	}
}

func callTool(t *testing.T, client *sdk.ClientSession, name string) string {
	t.Helper()
	result, err := client.CallTool(t.Context(), &sdk.CallToolParams{Name: name})
	if err != nil || len(result.Content) == 0 {
		t.Fatalf("%s: got %+v, %v", name, result, err)
	}
	text, _ := result.Content[0].(*sdk.TextContent)
	return text.Text
}

// connect returns a client of the SDK whose other end is a session.
func connect(t *testing.T, server link.Server, revision string, heard chan<- string) *sdk.ClientSession {
	t.Helper()
	client := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, &sdk.ClientOptions{
		CreateMessageHandler: func(context.Context, *sdk.CreateMessageRequest) (*sdk.CreateMessageResult, error) {
			return &sdk.CreateMessageResult{Model: "m", Role: "assistant", Content: &sdk.TextContent{Text: "from the client"}}, nil
		},
		ElicitationHandler: func(context.Context, *sdk.ElicitRequest) (*sdk.ElicitResult, error) {
			return &sdk.ElicitResult{Action: "accept", Content: map[string]any{"name": "Ada", "color": "red", "ok": true, "context": "here"}}, nil
		},
		ProgressNotificationHandler: func(_ context.Context, r *sdk.ProgressNotificationClientRequest) {
			heard <- fmt.Sprint("progress ", r.Params.Progress)
		},
		LoggingMessageHandler:  func(_ context.Context, r *sdk.LoggingMessageRequest) { heard <- fmt.Sprint("logged ", r.Params.Level) },
		ToolListChangedHandler: func(context.Context, *sdk.ToolListChangedRequest) { heard <- "tools changed" },
		ResourceUpdatedHandler: func(_ context.Context, r *sdk.ResourceUpdatedNotificationRequest) { heard <- "updated " + r.Params.URI },
	})
	client.AddRoots(&sdk.Root{URI: "file:///here"})
	s := NewSession(server, Info{Gateway: "gate", Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() {
		s.Close()
		<-s.Done()
	})
	fromClient, toSession := io.Pipe()
	fromSession, toClient := io.Pipe()
	go serveLines(s, fromClient, toClient)
	connected, err := client.Connect(t.Context(), &sdk.IOTransport{Reader: fromSession, Writer: toSession}, &sdk.ClientSessionOptions{ProtocolVersion: revision})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connected.Close() })
	return connected
}

// serveLines serves a session over a connection of lines, as a front does.
func serveLines(s *Session, from io.Reader, to io.WriteCloser) {
	var mu sync.Mutex
	put := func(messages []mcp.Message) (last bool) {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range messages {
			_, _ = to.Write(append(m.Raw(), '\n')) // the client may have gone
			last = m.Kind() == mcp.Response
		}
		return last
	}
	inbox, stop, _ := s.Listen()
	defer stop()
	go func() {
		for {
			select {
			case <-inbox.Ready():
				put(inbox.Take())
			case <-s.Done():
				return
			}
		}
	}()
	lines := mcp.NewLineReader(from, 1<<20)
	for {
		line, err := lines.Read()
		if err != nil {
			s.Close()
			to.Close()
			return
		}
		m, err := mcp.Parse(line)
		if err != nil {
			panic(err)
		}
		if m.Kind() != mcp.Request {
			_ = s.Send(context.Background(), m)
			continue
		}
		call, err := s.Call(context.Background(), m)
		if err != nil {
			put([]mcp.Message{mcp.NewError(m.ID(), mcp.CodeInternal, err.Error(), nil)})
			continue
		}
		go func() {
			for range call.Ready() {
				if put(call.Take()) {
					return
				}
			}
		}()
	}
}

// caller is the one caller of a process.
type caller struct{ *hub.Hub }

func (c caller) Do(ctx context.Context, request mcp.Message) (link.Call, error) {
	return c.Hub.Do(ctx, "", request)
}

// process is a server process of the stateless era behind standard streams.
type process struct {
	in io.Writer

	mu    sync.Mutex
	calls []*processCall // by id
}

type processCall struct {
	*link.Queue
	process *process
	id      []byte
	request mcp.Message
}

func startProcess(t *testing.T, binary string) *process {
	t.Helper()
	cmd := exec.Command(binary)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{in: in}
	read := make(chan struct{})
	t.Cleanup(func() {
		in.Close()
		<-read
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	go func() {
		defer close(read)
		lines := mcp.NewLineReader(out, 1<<20)
		for {
			line, err := lines.Read()
			if err != nil {
				return
			}
			m, err := mcp.Parse(line)
			if err != nil {
				t.Errorf("%v: %s", err, line)
				return
			}
			p.dispatch(m)
		}
	}()
	return p
}

func (p *process) Do(_ context.Context, _ string, request mcp.Message) (link.Call, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &processCall{link.NewQueue(), p, strconv.AppendInt(nil, int64(len(p.calls)), 10), request}
	p.calls = append(p.calls, c)
	return c, p.writeLocked(request.WithID(c.id))
}

func (p *process) writeLocked(m mcp.Message) error {
	_, err := p.in.Write(append(bytes.Clone(m.Raw()), '\n'))
	return err
}

// dispatch gives a message to the call that it names, and what names none to the
// newest that is no subscription.
func (p *process) dispatch(m mcp.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.calls) - 1; i >= 0; i-- {
		c := p.calls[i]
		switch subscription := m.At(m.Param("_meta", mcp.MetaSubscription)); {
		case m.Kind() == mcp.Response && bytes.Equal(m.ID(), c.id):
			c.Force(m.WithID(c.request.ID()))
			return
		case m.Kind() == mcp.Notification && bytes.Equal(subscription, c.id):
			c.Offer(m)
			return
		case m.Kind() == mcp.Notification && subscription == nil && c.request.Method() != mcp.MethodListen:
			c.Offer(m)
			return
		}
	}
}

func (c *processCall) Cancel(string) {
	c.process.mu.Lock()
	defer c.process.mu.Unlock()
	_ = c.process.writeLocked(mcp.NewRequest(nil, mcp.MethodCancelled, fmt.Appendf(nil, `{"requestId":%s}`, c.id))) // it may have ended
	c.Force(mcp.NewError(c.request.ID(), mcp.CodeInternal, "cancelled", nil))
}

func (*processCall) Detach() {}
