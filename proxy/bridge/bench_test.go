package bridge

import (
	"bytes"
	"context"
	"testing"

	"golang.org/x/sys/unix"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// answering answers every request at once.
type answering struct{}

func (answering) Do(_ context.Context, request mcp.Message) (link.Call, error) {
	if request.Method() == mcp.MethodDiscover {
		return link.Answered(mcp.NewResult(request.ID(), []byte(`{"supportedVersions":["2026-07-28"],"capabilities":{"logging":{},"tools":{}}}`))), nil
	}
	response, err := mcp.Parse([]byte(`{"jsonrpc":"2.0","id":7,"result":{"resultType":"complete","content":[{"type":"text","text":"hello"}]}}`))
	return link.Answered(response), err
}

// BenchmarkSession is what a call of a handshake-era client costs more before a server of
// the other era.
func BenchmarkSession(b *testing.B) {
	ctx := b.Context()
	s := NewSession(answering{}, Info{Gateway: "g"})
	defer func() {
		s.Close()
		<-s.Done()
	}()
	ask := func(text []byte) {
		m, err := mcp.Parse(bytes.Clone(text))
		if err != nil {
			b.Fatal(err)
		}
		call, err := s.Call(ctx, m)
		if err != nil {
			b.Fatal(err)
		}
		if response, err := link.Await(ctx, call); err != nil || response.Err() != nil {
			b.Fatalf("got %s (%v)", response.Raw(), err)
		}
	}
	ask([]byte(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`))
	used := func() int64 {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	request := []byte(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"message":"hello"}}}`)
	b.ReportAllocs()
	before := used()
	for b.Loop() {
		ask(request)
	}
	b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op")
}
