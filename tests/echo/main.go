// Echo is the smallest MCP server that both eras can call: it has one tool, which
// returns its argument, or as many letters as it is asked for. It keeps nothing and checks nothing.
//
//	echo            on standard input and output
//	echo -hello     the same, after a line that says that it runs
//	echo -http      over net/http, on a port whose URL is its first line
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"time"
)

func main() {
	hello := flag.Bool("hello", false, "write a line first")
	overHTTP := flag.Bool("http", false, "serve HTTP at a free port of 127.0.0.1")
	flag.Parse()
	var err error
	switch {
	case *overHTTP:
		err = serveHTTP(os.Stdout)
	case *hello:
		if _, err = os.Stdout.WriteString("hello\n"); err == nil {
			err = serve(os.Stdin, os.Stdout)
		}
	default:
		err = serve(os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

// serve answers line by line. What has been asked meanwhile is answered with one write.
func serve(in io.Reader, out io.Writer) error {
	lines, answers := bufio.NewReaderSize(in, 64<<10), bufio.NewWriterSize(out, 64<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return answers.Flush()
		}
		if err != nil {
			return err
		}
		if reply := answer(line); reply != nil {
			answers.Write(reply) //nolint:errcheck // Flush returns it
			if err := answers.WriteByte('\n'); err != nil {
				return err
			}
		}
		if lines.Buffered() == 0 {
			if err := answers.Flush(); err != nil {
				return err
			}
		}
	}
}

func serveHTTP(out io.Writer) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "http://%s/mcp\n", listener.Addr())
	server := http.Server{Handler: http.HandlerFunc(handle), ReadHeaderTimeout: time.Minute}
	return server.Serve(listener)
}

func handle(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	reply := answer(body)
	if reply == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(reply) //nolint:errcheck // the client is gone
}

type request struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		ProtocolVersion string `json:"protocolVersion"`
		Arguments       struct {
			Message json.RawMessage `json:"message"`
			Letters int             `json:"letters"`
		} `json:"arguments"`
		Meta map[string]json.RawMessage `json:"_meta"`
	} `json:"params"`
}

const about = `"serverInfo":{"name":"echo","version":"1"},"capabilities":{"tools":{}}`

// answer is nil for what has none.
func answer(line []byte) []byte {
	var r request
	if err := json.Unmarshal(line, &r); err != nil {
		return []byte(`{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"not JSON"}}`)
	}
	if r.ID == nil {
		return nil
	}
	var b bytes.Buffer
	b.WriteString(`{"jsonrpc":"2.0","id":`)
	b.Write(r.ID)
	member := `,"result":{`
	if r.Params.Meta["io.modelcontextprotocol/protocolVersion"] != nil {
		member += `"resultType":"complete",`
	}
	switch r.Method {
	case "tools/call":
		text := r.Params.Arguments.Message
		if text == nil {
			text = slices.Concat([]byte{'"'}, bytes.Repeat([]byte{'x'}, max(0, r.Params.Arguments.Letters)), []byte{'"'})
		}
		b.WriteString(member + `"content":[{"type":"text","text":`)
		b.Write(text)
		b.WriteString(`}]}}`)
	case "tools/list":
		b.WriteString(member + `"ttlMs":0,"cacheScope":"public","tools":[{"name":"echo","description":"returns its argument","inputSchema":{"type":"object","properties":{"message":{"type":"string"}}}}]}}`)
	case "initialize":
		fmt.Fprintf(&b, `%s"protocolVersion":%q,%s}}`, member, r.Params.ProtocolVersion, about)
	case "server/discover":
		b.WriteString(member + `"ttlMs":0,"cacheScope":"public","supportedVersions":["2026-07-28"],` + about + `}}`)
	case "ping":
		b.WriteString(`,"result":{}}`)
	default:
		b.WriteString(`,"error":{"code":-32601,"message":"method not found"}}`)
	}
	return b.Bytes()
}
