package httpfront

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// authorized adds the key to every request of a client.
type authorized struct{ key string }

func (a authorized) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+a.key)
	return http.DefaultTransport.RoundTrip(r)
}

// A client that nobody here wrote speaks both eras to the gateway.
func TestGoSDKClient(t *testing.T) {
	for _, revision := range []string{"2025-06-18", "2025-11-25", "2026-07-28"} {
		t.Run(revision, func(t *testing.T) {
			g := newGateway(t, nil)
			progress := make(chan float64, 3)
			client := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, &sdk.ClientOptions{
				ProgressNotificationHandler: func(_ context.Context, r *sdk.ProgressNotificationClientRequest) { progress <- r.Params.Progress },
				CreateMessageHandler: func(context.Context, *sdk.CreateMessageRequest) (*sdk.CreateMessageResult, error) {
					return &sdk.CreateMessageResult{Model: "m", Role: "assistant", Content: &sdk.TextContent{Text: "from the client"}}, nil
				},
			})
			session, err := client.Connect(t.Context(), &sdk.StreamableClientTransport{
				Endpoint:   g.url + "/servers/echo/mcp",
				HTTPClient: &http.Client{Transport: authorized{g.key}},
			}, &sdk.ClientSessionOptions{ProtocolVersion: revision})
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			if got := session.InitializeResult(); got.ServerInfo == nil || got.ServerInfo.Name != "echo" {
				t.Errorf("got %+v", got)
			}
			tools, err := session.ListTools(t.Context(), nil)
			if err != nil || len(tools.Tools) != 1 || tools.Tools[0].Name != "echo" {
				t.Errorf("got tools %+v, %v", tools, err)
			}
			params := &sdk.CallToolParams{Name: "progress", Arguments: map[string]any{"n": 3}}
			params.SetProgressToken("token")
			if _, err := session.CallTool(t.Context(), params); err != nil {
				t.Error(err)
			}
			for want := range 3 { // the client handles them beside the response
				if got := <-progress; got != float64(want+1) {
					t.Errorf("got progress %v, want %d", got, want+1)
				}
			}
			asked, err := session.CallTool(t.Context(), &sdk.CallToolParams{Name: "ask"})
			if err != nil || !strings.Contains(asked.Content[0].(*sdk.TextContent).Text, "from the client") {
				t.Errorf("got %+v, %v", asked, err)
			}
		})
	}
}

// cutting is a client's transport that loses one connection in the midst of a
// stream.
type cutting struct {
	http.RoundTripper
	at    string // behind this text
	times atomic.Int32
}

func (c *cutting) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := c.RoundTripper.RoundTrip(r)
	if err == nil {
		response.Body = &cutBody{ReadCloser: response.Body, cutting: c}
	}
	return response, err
}

type cutBody struct {
	io.ReadCloser
	*cutting
	lost bool
}

func (b *cutBody) Read(p []byte) (int, error) {
	if b.lost {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.ReadCloser.Read(p)
	if strings.Contains(string(p[:n]), b.at) && b.times.Add(1) == 1 {
		b.lost = true
		b.Close()
	}
	return n, err
}

// A client that nobody here wrote gets the answer to a call whose connection it
// has lost.
func TestGoSDKClientResumes(t *testing.T) {
	g := newGateway(t, nil)
	lossy := &cutting{RoundTripper: authorized{g.key}, at: "sampling/createMessage"}
	client := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, &sdk.ClientOptions{
		CreateMessageHandler: func(context.Context, *sdk.CreateMessageRequest) (*sdk.CreateMessageResult, error) {
			return &sdk.CreateMessageResult{Model: "m", Role: "assistant", Content: &sdk.TextContent{Text: "from the client"}}, nil
		},
	})
	session, err := client.Connect(t.Context(), &sdk.StreamableClientTransport{
		Endpoint: g.url + "/servers/echo/mcp", HTTPClient: &http.Client{Transport: lossy},
	}, &sdk.ClientSessionOptions{ProtocolVersion: "2025-11-25"})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	asked, err := session.CallTool(t.Context(), &sdk.CallToolParams{Name: "ask"})
	if err != nil || !strings.Contains(asked.Content[0].(*sdk.TextContent).Text, "from the client") {
		t.Errorf("got %+v, %v", asked, err)
	}
	if lossy.times.Load() == 0 {
		t.Error("no connection was lost")
	}
}
