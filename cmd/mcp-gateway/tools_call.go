package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	neturl "net/url"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"mcpgateway/proxy/report"
	"mcpgateway/proxy/screen"
)

// maxArguments bounds what is read of --args -, in bytes.
const maxArguments = 4 << 20

func newToolsCallCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "call SERVER TOOL [NAME=TEXT…] [NAME:=JSON…]",
		Short: "Call a tool of a server as root, past rules, limits and pins",
		Long: `Call a tool as root. No rule, limit or pin of callers holds for that; the audit log
records it. Its instance is the operator's own, unless the server is shared. Text is
printed, images and other binary content are named. With -o json it is the result
as the server sent it. The exit status is 1 if the tool says that it failed, too.`,
		Example: "  mcp-gateway tools call files read_file path=/data/a.txt\n" +
			"  mcp-gateway tools call db query --args '{\"sql\": \"select 1\"}' -o json",
		Args: cobra.MinimumNArgs(2),
	}
	state, form := stateFlag(cmd), outputFlag(cmd)
	raw := cmd.Flags().String("args", "", "the arguments, a `JSON` object; - reads it from standard input")
	timeout := cmd.Flags().Duration("timeout", time.Minute, "wait at most so `LONG` for the result, up to 1h")
	cmd.ValidArgsFunction = completing(1, knownServers)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *timeout <= 0 || *timeout > time.Hour {
			return misused("--timeout %s is not between 0 and 1h", *timeout)
		}
		arguments, err := toolArguments(cmd.InOrStdin(), *raw, args[2:])
		if err != nil {
			return err
		}
		result, err := callTool(cmd.Context(), *state, args[0], report.Call{Tool: args[1], Arguments: arguments}, *timeout)
		if err != nil {
			return err
		}
		if err := form.print(cmd.OutOrStdout(), result, func(out io.Writer) error { return printResult(out, result) }); err != nil {
			return err
		}
		var verdict struct{ IsError bool }
		if _ = json.Unmarshal(result, &verdict); verdict.IsError { // what is missing stays false
			return errReported
		}
		return nil
	}
	return cmd
}

// toolArguments makes an object of an object, or of words: name=text or name:=JSON.
func toolArguments(in io.Reader, raw string, words []string) (json.RawMessage, error) {
	if raw == "-" {
		content, err := io.ReadAll(io.LimitReader(in, maxArguments+1))
		switch {
		case err != nil:
			return nil, fmt.Errorf("read the arguments: %w", err)
		case len(content) > maxArguments:
			return nil, misused("the arguments have more than %d bytes", maxArguments)
		}
		raw = string(content)
	}
	if raw != "" && len(words) > 0 {
		return nil, misused("give the arguments by --args or one by one, not both")
	}
	if raw != "" {
		var object map[string]json.RawMessage
		if err := json.Unmarshal([]byte(raw), &object); err != nil || object == nil {
			return nil, misused("--args is no JSON object: %s", shown(cut(raw, 100)))
		}
		return json.RawMessage(strings.TrimSpace(raw)), nil
	}
	object := map[string]json.RawMessage{}
	for _, word := range words {
		name, value, ok := strings.Cut(word, "=")
		exact := strings.HasSuffix(name, ":")
		name = strings.TrimSuffix(name, ":")
		if _, twice := object[name]; !ok || name == "" || twice {
			return nil, misused("argument %s is not NAME=TEXT or NAME:=JSON, or is there twice", quoted(word))
		}
		if !exact {
			text, err := json.Marshal(value)
			if err != nil {
				return nil, err
			}
			value = string(text)
		}
		if !json.Valid([]byte(value)) {
			return nil, misused("argument %s is no JSON: use NAME=TEXT for text", quoted(word))
		}
		object[name] = json.RawMessage(value)
	}
	return json.Marshal(object)
}

func callTool(ctx context.Context, state, server string, call report.Call, timeout time.Duration) (json.RawMessage, error) {
	var called report.Called
	q := inquiry{
		method: http.MethodPost, path: serverPath(server, "call"), query: neturl.Values{"timeout": {timeout.String()}},
		body: call, wait: timeout + operatorWait,
	}
	err := q.read(ctx, state, &called)
	return called.Result, err
}

// content is a part of a tool's result.
type content struct {
	Type     string
	Text     string
	Data     string // base 64
	MimeType string
	URI      string
	Resource struct {
		URI, MimeType, Text, Blob string
	}
}

// printResult writes the text of a result, and names the rest.
func printResult(out io.Writer, result json.RawMessage) error {
	var parts struct {
		Content           []content
		StructuredContent json.RawMessage
	}
	if err := json.Unmarshal(result, &parts); err != nil {
		return fmt.Errorf("read the tool's result: %s: use -o json", shown(err.Error()))
	}
	if len(parts.Content) == 0 && parts.StructuredContent != nil {
		return writeJSON(out, parts.StructuredContent)
	}
	for _, c := range parts.Content {
		text := strings.TrimSuffix(plainText(c.describe()), "\n")
		if _, err := fmt.Fprintln(out, text); err != nil {
			return err
		}
	}
	return nil
}

func (c content) describe() string {
	switch {
	case c.Type == "text":
		return c.Text
	case c.Type == "resource" && c.Resource.Text != "":
		return c.Resource.Text
	case c.Type == "resource":
		return fmt.Sprintf("[resource %s, %s, %s]", c.Resource.URI, c.Resource.MimeType, binarySize(c.Resource.Blob))
	case c.Type == "resource_link":
		return fmt.Sprintf("[resource %s]", c.URI)
	}
	return fmt.Sprintf("[%s, %s, %s]", c.Type, c.MimeType, binarySize(c.Data))
}

// binarySize is about how much a text in base 64 stands for.
func binarySize(base64 string) string { return fmt.Sprintf("%d bytes", len(base64)/4*3) }

// plainText makes lines that others wrote fit for a terminal, and keeps them lines. Unlike
// with shown, different texts may look alike.
func plainText(text string) string {
	var b strings.Builder
	for _, r := range text { // what is no UTF-8 becomes U+FFFD
		if r == '\n' || r == '\t' || unicode.IsPrint(r) && !screen.Curious(r) {
			b.WriteRune(r)
			continue
		}
		fmt.Fprintf(&b, `\u{%x}`, r)
	}
	return b.String()
}
