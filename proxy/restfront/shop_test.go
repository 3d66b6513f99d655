package restfront

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"mcpgateway/proxy/proxytest"
)

// servers are those of this package's tests: one that an SDK serves, and some that
// no SDK would.
func servers() proxytest.Own {
	return proxytest.Own{
		"shop":     shop,
		"odd":      odd,
		"endless":  func() int { return serveLists(`"tools":[{"name":"a"}],"nextCursor":"more"`) },
		"heavy":    func() int { return serveLists(`"tools":["` + strings.Repeat("x", 3<<20) + `"],"nextCursor":"CURSOR"`) },
		"listless": func() int { return serveLists(`"tools":{"name":"a"}`) },
	}
}

type sum struct{ A, B int }

// shop has a page for every two of what it lists.
func shop() int {
	s := sdk.NewServer(&sdk.Implementation{Name: "shop", Version: "1"}, &sdk.ServerOptions{PageSize: 2})
	sdk.AddTool(s, &sdk.Tool{Name: "add", Title: "Add"}, func(_ context.Context, _ *sdk.CallToolRequest, in sum) (*sdk.CallToolResult, map[string]int, error) {
		return nil, map[string]int{"sum": in.A + in.B}, nil
	})
	sdk.AddTool(s, &sdk.Tool{Name: "fail"}, func(context.Context, *sdk.CallToolRequest, any) (*sdk.CallToolResult, any, error) {
		return nil, nil, errors.New("out of stock")
	})
	sdk.AddTool(s, &sdk.Tool{Name: "work"}, func(ctx context.Context, r *sdk.CallToolRequest, _ any) (*sdk.CallToolResult, any, error) {
		token := r.Params.GetProgressToken()
		if token == nil {
			return nil, nil, errors.New("nobody listens")
		}
		for i := range 3 {
			if err := r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: token, Progress: float64(i)}); err != nil {
				return nil, nil, err
			}
		}
		return nil, nil, nil
	})
	sdk.AddTool(s, &sdk.Tool{Name: "half"}, func(ctx context.Context, r *sdk.CallToolRequest, _ any) (*sdk.CallToolResult, any, error) {
		_ = r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Progress: 1})
		return nil, nil, errors.New("lost the rest")
	})
	sdk.AddTool(s, &sdk.Tool{Name: "ask"}, func(ctx context.Context, r *sdk.CallToolRequest, _ any) (*sdk.CallToolResult, any, error) {
		_, err := r.Session.Elicit(ctx, &sdk.ElicitParams{Message: "which?"})
		return nil, nil, err
	})
	parked, cancelled := make(chan bool, 9), make(chan bool, 9)
	sdk.AddTool(s, &sdk.Tool{Name: "park"}, func(ctx context.Context, _ *sdk.CallToolRequest, _ any) (*sdk.CallToolResult, any, error) {
		parked <- true
		<-ctx.Done()
		cancelled <- true
		return nil, nil, ctx.Err()
	})
	for name, happened := range map[string]chan bool{"see parked": parked, "see cancelled": cancelled} {
		sdk.AddTool(s, &sdk.Tool{Name: name}, func(context.Context, *sdk.CallToolRequest, any) (*sdk.CallToolResult, any, error) {
			<-happened
			return nil, nil, nil
		})
	}
	s.AddPrompt(&sdk.Prompt{Name: "greet", Arguments: []*sdk.PromptArgument{{Name: "who", Required: true}}},
		func(_ context.Context, r *sdk.GetPromptRequest) (*sdk.GetPromptResult, error) {
			return &sdk.GetPromptResult{Messages: []*sdk.PromptMessage{{Role: "user", Content: &sdk.TextContent{Text: "Hello " + r.Params.Arguments["who"]}}}}, nil
		})
	for i := range 5 {
		uri := fmt.Sprintf("shop://item/%d?a=b&c=d", i)
		s.AddResource(&sdk.Resource{Name: uri, URI: uri}, func(_ context.Context, r *sdk.ReadResourceRequest) (*sdk.ReadResourceResult, error) {
			return &sdk.ReadResourceResult{Contents: []*sdk.ResourceContents{{URI: r.Params.URI, Text: "this is " + r.Params.URI}}}, nil
		})
	}
	s.AddResourceTemplate(&sdk.ResourceTemplate{Name: "t", URITemplate: "shop://shelf/{n}"}, nil)
	if err := s.Run(context.Background(), &sdk.StdioTransport{}); err != nil {
		return 1
	}
	return 0
}

// odd lists what no reader of OpenAPI could take as it is.
func odd() int {
	tools, err := os.ReadFile("../openapi/testdata/odd.json")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	text := strings.TrimSpace(string(tools))
	return serveLists(text[1 : len(text)-1])
}

// serveLists serves what every page of a list is to be, with a cursor that counts
// to ten if there is one.
func serveLists(result string) int {
	var line json.RawMessage
	var flat []byte
	for _, c := range []byte(result) {
		if c != '\n' && c != '\t' {
			flat = append(flat, c)
		}
	}
	d := json.NewDecoder(bufio.NewReader(os.Stdin))
	for d.Decode(&line) == nil {
		var e struct {
			ID     json.RawMessage
			Method string
			Params struct{ Name, Cursor string }
		}
		if json.Unmarshal(line, &e) != nil || e.ID == nil {
			continue
		}
		switch e.Method {
		case "initialize":
			fmt.Fprintf(os.Stdout, `{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"odd","version":"1"}}}`+"\n", e.ID)
		case "tools/call":
			fmt.Fprintf(os.Stdout, `{"jsonrpc":"2.0","id":%s,"error":{"code":%s,"message":"no \"good\"","data":{"exact":1e3}}}`+"\n", e.ID, e.Params.Name)
		case "tools/list", "prompts/list":
			page := strings.Replace(string(flat), "CURSOR", e.Params.Cursor+"i", 1)
			if e.Params.Cursor == "iiiiiiiii" { // the tenth
				page = `"tools":[]`
			}
			fmt.Fprintf(os.Stdout, `{"jsonrpc":"2.0","id":%s,"result":{%s}}`+"\n", e.ID, page)
		default:
			fmt.Fprintf(os.Stdout, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"Method not found"}}`+"\n", e.ID)
		}
	}
	return 0
}
