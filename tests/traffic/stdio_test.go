package traffic

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"testing"
)

// Sessions share a server that answers the newest first.
func TestStdioTellsSessionsApart(t *testing.T) {
	t.Parallel()
	requests, in := io.Pipe()
	out, answers := io.Pipe()
	s := NewStdio(in, out, 2)
	done := make(chan error, 2)
	for i := range 2 {
		go func() { done <- s.Session(i).Call() }()
	}
	lines := bufio.NewScanner(requests)
	var ids []int
	for len(ids) < 2 && lines.Scan() {
		id, err := owner(lines.Bytes())
		if err != nil || !strings.Contains(lines.Text(), "io.modelcontextprotocol/protocolVersion") {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		ids = append(ids, id)
	}
	for _, id := range []int{ids[1], ids[0]} {
		fmt.Fprintf(answers, `{"jsonrpc":"2.0","id":%d,"result":{"text":"`+text+"\"}}\n", id)
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	go io.Copy(io.Discard, requests)
	answers.Close()
	if err := s.Session(0).Call(); err == nil {
		t.Error("a call after the server's end: got no error")
	}
}
