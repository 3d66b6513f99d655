// Command oneera is a stdio MCP server of one era only, made of one that speaks
// both: it starts that server and answers the other era's first request itself,
// with the error that servers of one era give.
//
//	oneera handshake|stateless PROGRAM [ARGUMENT]...
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
)

// refused is, by era, the method that its servers don't know and the error of the
// servers in use: -32601 of those that were there before the stateless era, -32022
// of those that gave the handshake up.
var refused = map[string]struct {
	method string
	err    string
}{
	"handshake": {"server/discover", `{"code":-32601,"message":"Method not found"}`},
	"stateless": {"initialize", `{"code":-32022,"message":"Unsupported protocol version","data":{"supported":["2026-07-28"],"requested":"2025-11-25"}}`},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "oneera:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) < 3 {
		return fmt.Errorf("usage: oneera handshake|stateless PROGRAM [ARGUMENT]")
	}
	refusal, ok := refused[os.Args[1]]
	if !ok {
		return fmt.Errorf("there is no era %q", os.Args[1])
	}
	server := exec.Command(os.Args[2], os.Args[3:]...)
	server.Stderr = os.Stderr
	in, err := server.StdinPipe()
	if err != nil {
		return err
	}
	out, err := server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	output := &lines{to: os.Stdout}
	done := make(chan error, 1)
	go func() { done <- each(out, output.write) }()
	err = each(os.Stdin, func(line []byte) error {
		var request struct {
			ID     json.RawMessage
			Method string
		}
		if json.Unmarshal(line, &request) == nil && request.Method == refusal.method {
			return output.write(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"error":%s}`+"\n", request.ID, refusal.err))
		}
		_, err := in.Write(line)
		return err
	})
	in.Close()
	if failed := <-done; err == nil {
		err = failed
	}
	if failed := server.Wait(); err == nil {
		err = failed
	}
	return err
}

// each calls do with every line, its end included.
func each(from io.Reader, do func(line []byte) error) error {
	reader := bufio.NewReader(from)
	for {
		line, err := reader.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			if err := do(line); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// lines are written whole.
type lines struct {
	mu sync.Mutex
	to io.Writer
}

func (l *lines) write(line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.to.Write(line)
	return err
}
