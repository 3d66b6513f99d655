package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
)

type tellArgs struct {
	Names []string `json:"names"` // of variables
	How   string   `json:"how"`   // "result", "error", "log", "stderr", "garbage", "progress" or "request"
}

// tell shows the values of variables, written in several ways, where it is told to.
func tell(ctx context.Context, c call, args tellArgs) (result, error) {
	var all []string
	for _, name := range args.Names {
		all = append(all, writings(os.Getenv(name))...)
	}
	text := strings.Join(all, " | ")
	switch args.How {
	case "result":
		return result{text: text, structured: encode(map[string]any{"told": all, text: 1})}, nil
	case "error":
		return result{}, errors.New(text)
	case "stderr":
		fmt.Fprintln(c.server.stderr, text)
		for _, one := range all {
			fmt.Fprintln(c.server.stderr, one)
		}
	case "garbage":
		return result{text: "told"}, c.server.write("no message: ", strings.Join(all, " "))
	case "log":
		return result{text: "told"}, c.server.write(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":`, string(encode(all)), `}}`)
	case "progress":
		return result{text: "told"}, c.server.write(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":`, string(c.progressToken), `,"progress":1,"message":`, string(encode(text)), `}}`)
	case "request":
		_, err := c.server.ask(ctx, "sampling/createMessage", encode(map[string]any{"messages": all, "maxTokens": 1}))
		return result{text: "told"}, err
	default:
		return result{}, fmt.Errorf("how %q is not known", args.How)
	}
	return result{text: "told"}, nil
}

// writings are ways to write a value. A result escapes each once more.
func writings(value string) []string {
	inJSON := string(encode(value))
	all := []string{
		value, inJSON, string(encode(inJSON)), url.QueryEscape(value), url.PathEscape(value),
		hex.EncodeToString([]byte(value)), strings.ToUpper(hex.EncodeToString([]byte(value))),
	}
	for i := range 3 {
		text := []byte(strings.Repeat("~", i) + value)
		all = append(all, base64.StdEncoding.EncodeToString(text), base64.URLEncoding.EncodeToString(text))
	}
	return all
}
