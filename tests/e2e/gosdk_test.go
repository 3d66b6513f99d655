package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// goClient is one session of the Go SDK that does what features.mjs does.
type goClient struct {
	*mcp.ClientSession
	stateless bool
	progress  chan float64
	logged    chan struct{}
	updated   chan string
}

func newGoClient(ctx context.Context, transport mcp.Transport, revision string) (*goClient, error) {
	c := &goClient{stateless: revision >= "2026", progress: make(chan float64, 100), logged: make(chan struct{}, 100), updated: make(chan string, 100)}
	client := mcp.NewClient(&mcp.Implementation{Name: "e2e", Version: "1"}, &mcp.ClientOptions{
		CreateMessageHandler: func(context.Context, *mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
			return &mcp.CreateMessageResult{Model: "none", Role: "assistant", Content: &mcp.TextContent{Text: "sampled-by-e2e"}}, nil
		},
		ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"name": "elicited-by-e2e"}}, nil
		},
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) { c.progress <- r.Params.Progress },
		LoggingMessageHandler:       func(context.Context, *mcp.LoggingMessageRequest) { c.logged <- struct{}{} },
		ResourceUpdatedHandler:      func(_ context.Context, r *mcp.ResourceUpdatedNotificationRequest) { c.updated <- r.Params.URI },
	})
	client.AddRoots(&mcp.Root{URI: "file:///root-of-e2e", Name: "e2e"})
	session, err := client.Connect(ctx, transport, &mcp.ClientSessionOptions{ProtocolVersion: revision})
	c.ClientSession = session
	return c, err
}

// call calls a tool and returns its text.
func (c *goClient) call(ctx context.Context, params *mcp.CallToolParams) (string, error) {
	result, err := c.CallTool(ctx, params)
	if err != nil {
		return "", err
	}
	var texts []string
	for _, part := range result.Content {
		if text, ok := part.(*mcp.TextContent); ok {
			texts = append(texts, text.Text)
		}
	}
	text := strings.Join(texts, "\n")
	if result.IsError {
		return "", toolError(text)
	}
	return text, nil
}

// toolError is what a tool says that failed.
type toolError string

func (e toolError) Error() string { return string(e) }

// answers says whether a tool's text holds something.
func (c *goClient) answers(ctx context.Context, tool, want string) error {
	text, err := c.call(ctx, &mcp.CallToolParams{Name: tool})
	if err == nil && !strings.Contains(text, want) {
		err = fmt.Errorf("got %q, want it to hold %q", text, want)
	}
	return err
}

// goSDKFeatures tries with the Go SDK, over one of its transports, what MCP offers.
// connect gives a transport to one of the two servers, see features.mjs.
func goSDKFeatures(t *testing.T, connect func(slow bool) mcp.Transport, revision string) (got tried) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	c, err := newGoClient(ctx, connect(false), revision)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer c.Close()
	slow, err := newGoClient(ctx, connect(true), revision)
	if err != nil {
		t.Fatalf("connect to the slow server: %v", err)
	}
	defer slow.Close()
	got = tried{Client: "go-sdk", Revision: c.InitializeResult().ProtocolVersion, Features: map[string]string{}}
	const waits = "subscription" // mostly; the others follow one another
	waited := make(chan string)
	go func() { waited <- attempt(ctx, goFeatures[waits], c, slow) }()
	for name, use := range goFeatures {
		if name != waits {
			got.Features[name] = attempt(ctx, use, c, slow)
		}
	}
	got.Features[waits] = <-waited
	return got
}

func attempt(ctx context.Context, use goFeature, c, slow *goClient) string {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := use(ctx, c, slow); err != nil {
		return err.Error()
	}
	return "ok"
}

type goFeature func(ctx context.Context, c, slow *goClient) error

var goFeatures = map[string]goFeature{
	"tools": func(ctx context.Context, c, _ *goClient) error {
		list, err := c.ListTools(ctx, nil)
		if err == nil && len(list.Tools) < 10 {
			err = fmt.Errorf("got %d tools", len(list.Tools))
		}
		return err
	},
	"call": func(ctx context.Context, c, _ *goClient) error {
		return c.answers(ctx, "test_simple_text", "simple text")
	},
	"progress": func(ctx context.Context, c, _ *goClient) error {
		params := &mcp.CallToolParams{Name: "test_tool_with_progress"}
		params.SetProgressToken("progress-of-e2e")
		if _, err := c.call(ctx, params); err != nil {
			return err
		}
		for _, want := range []float64{0, 50, 100} {
			got, err := next(ctx, c.progress)
			if err == nil && got != want {
				err = fmt.Errorf("got progress %v, want %v", got, want)
			}
			if err != nil {
				return err
			}
		}
		return nil
	},
	"sampling": func(ctx context.Context, c, _ *goClient) error {
		return c.answers(ctx, "test_input_required_result_sampling", "sampled-by-e2e")
	},
	"elicitation": func(ctx context.Context, c, _ *goClient) error {
		return c.answers(ctx, "test_input_required_result_elicitation", "elicited-by-e2e")
	},
	"roots": func(ctx context.Context, c, _ *goClient) error {
		return c.answers(ctx, "test_input_required_result_list_roots", "root-of-e2e")
	},
	"logging": func(ctx context.Context, c, _ *goClient) error {
		params := &mcp.CallToolParams{Name: "test_tool_with_logging"}
		if c.stateless {
			params.Meta = mcp.Meta{mcp.MetaKeyLogLevel: "debug"}
		} else if err := c.SetLoggingLevel(ctx, &mcp.SetLoggingLevelParams{Level: "debug"}); err != nil {
			return err
		}
		if _, err := c.call(ctx, params); err != nil {
			return err
		}
		_, err := next(ctx, c.logged)
		return err
	},
	"subscription": func(ctx context.Context, c, _ *goClient) error {
		const watched = "test://watched-resource"
		if err := c.Subscribe(ctx, &mcp.SubscribeParams{URI: watched}); err != nil {
			return err
		}
		uri, err := next(ctx, c.updated)
		if err == nil && uri != watched {
			err = fmt.Errorf("got an update of %q", uri)
		}
		if err != nil {
			return err
		}
		return c.Unsubscribe(ctx, &mcp.UnsubscribeParams{URI: watched})
	},
	"resources": func(ctx context.Context, c, _ *goClient) error {
		_, err := c.ReadResource(ctx, &mcp.ReadResourceParams{URI: "test://static-text"})
		return err
	},
	"prompts": func(ctx context.Context, c, _ *goClient) error {
		_, err := c.GetPrompt(ctx, &mcp.GetPromptParams{Name: "test_simple_prompt"})
		return err
	},
	"errors": func(ctx context.Context, c, _ *goClient) error {
		var failed toolError
		if _, err := c.call(ctx, &mcp.CallToolParams{Name: "test_error_handling"}); !errors.As(err, &failed) {
			return errors.Join(errors.New("a tool that fails says nothing of it"), err)
		}
		if _, err := c.ReadResource(ctx, &mcp.ReadResourceParams{URI: "no-such://resource"}); err == nil {
			return errors.New("a resource that does not exist: got no error")
		}
		return nil
	},
	"big": func(ctx context.Context, _, slow *goClient) error {
		text, err := slow.call(ctx, &mcp.CallToolParams{Name: "big", Arguments: map[string]any{"bytes": 3_000_000}})
		if err == nil && len(text) != 3_000_000 {
			err = fmt.Errorf("got %d bytes", len(text))
		}
		return err
	},
	"cancel": func(ctx context.Context, _, slow *goClient) error {
		running, cancel := context.WithCancel(ctx)
		params := &mcp.CallToolParams{Name: "sleep", Arguments: map[string]any{"seconds": 30}}
		params.SetProgressToken("sleep-of-e2e")
		go func() {
			defer cancel()
			_, _ = next(ctx, slow.progress) // the call's error says why it ended
		}()
		if _, err := slow.call(running, params); !errors.Is(err, context.Canceled) {
			return errors.Join(errors.New("a call that was cancelled did not end for that"), err)
		}
		for {
			text, err := slow.call(ctx, &mcp.CallToolParams{Name: "counters"})
			var counters struct{ Cancelled int }
			if err == nil {
				err = json.Unmarshal([]byte(text), &counters)
			}
			if err != nil || counters.Cancelled == 1 {
				return err
			}
		}
	},
}

func next[T any](ctx context.Context, events <-chan T) (event T, err error) {
	select {
	case event = <-events:
	case <-ctx.Done():
		err = errors.New("nothing came")
	}
	return event, err
}

// goHTTP is the Go SDK's Streamable HTTP transport.
func goHTTP(url, key string) mcp.Transport {
	return &mcp.StreamableClientTransport{Endpoint: url + "/mcp", HTTPClient: &http.Client{Transport: bearer(key)}}
}

// goSSE is its transport of 2024-11-05.
func goSSE(url, key string) mcp.Transport {
	return &mcp.SSEClientTransport{Endpoint: url + "/sse", HTTPClient: &http.Client{Transport: bearer(key)}}
}
