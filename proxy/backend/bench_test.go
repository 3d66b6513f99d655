package backend

import (
	"bufio"
	"bytes"
	"context"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/runtime/control"
)

// echoing opens servers that are goroutines: each answers every request with the same
// result.
type echoing struct {
	result  string
	running sync.WaitGroup
}

func (e *echoing) Open(context.Context, string, string) (control.Opened, error) {
	stdin, in, err := pair()
	if err != nil {
		return control.Opened{}, err
	}
	stdout, out, err := pair()
	if err != nil {
		return control.Opened{}, err
	}
	stderr, mute, err := os.Pipe()
	if err != nil {
		return control.Opened{}, err
	}
	e.running.Go(func() {
		defer in.Close()
		defer out.Close()
		defer mute.Close()
		e.serve(in, out)
	})
	return control.Opened{Sandbox: "s", Stdin: stdin, Stdout: stdout, Stderr: stderr, Over: make(chan struct{})}, nil
}

func pair() (near, far *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "near"), os.NewFile(uintptr(fds[1]), "far"), nil
}

// serve answers line by line. What has been asked meanwhile is answered with one write.
func (e *echoing) serve(stdin, stdout *os.File) {
	in, out := bufio.NewReaderSize(stdin, 64<<10), bufio.NewWriterSize(stdout, 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		_, id, _ := bytes.Cut(line, []byte(`"id":`))
		id = id[:bytes.IndexByte(id, ',')]
		_, _ = out.WriteString(`{"jsonrpc":"2.0","id":`)
		_, _ = out.Write(id)
		_, _ = out.WriteString(`,"result":` + e.result + "}\n")
		if in.Buffered() == 0 && out.Flush() != nil {
			return
		}
	}
}

func (*echoing) Stop(context.Context, string) error   { return nil }
func (*echoing) Freeze(context.Context, string) error { return nil }
func (*echoing) Thaw(context.Context, string) error   { return nil }

func (*echoing) Reclaim(context.Context, string, int64) error { return nil }

// BenchmarkCall is one call at a server, with the server, which is a goroutine: from so many callers
// at a time.
func BenchmarkCall(b *testing.B) {
	for _, callers := range []struct {
		name string
		n    int
	}{{"1", 1}, {"16", 16}, {"64", 64}} {
		b.Run(callers.name, func(b *testing.B) {
			e := &echoing{result: `{"resultType":"complete","content":[{"type":"text","text":"hello"}]}`}
			pool := NewPool(e, nil, slog.New(slog.DiscardHandler))
			s := Spec{Server: "s", Gateway: "g", Timeout: time.Minute, IdleTimeout: time.Hour, MaxMessageBytes: 16 << 20}
			conn, err := pool.StartStateless(b.Context(), s, time.Minute)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			before := used(b)
			b.ResetTimer()
			var working sync.WaitGroup
			for i := range callers.n {
				working.Go(func() {
					for range b.N/callers.n + min(1, max(0, b.N%callers.n-i)) {
						if err := callOnce(b.Context(), conn); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			working.Wait()
			b.ReportMetric(float64(used(b)-before)/float64(b.N), "cpu-ns/op")
			pool.Close()
			e.running.Wait()
		})
	}
}

var request = []byte(`{"jsonrpc":"2.0","id":"client-7","method":"tools/call","params":{"name":"echo","arguments":{"message":"hello"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`)

func callOnce(ctx context.Context, conn *Conn) error {
	m, err := mcp.Parse(bytes.Clone(request))
	if err != nil {
		return err
	}
	call, err := conn.Do(ctx, "owner", m)
	if err != nil {
		return err
	}
	_, err = link.Await(ctx, call)
	return err
}

func used(b *testing.B) int64 {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
