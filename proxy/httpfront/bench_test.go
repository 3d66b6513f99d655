package httpfront

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"mcpgateway/policy"
)

// BenchmarkPost measures requests on connections that are kept, beside those of net/http
// alone: the difference is the front's (a notification, which no server gets), or that of
// all the proxy (calls of a server that is another process). The client is in both.
func BenchmarkPost(b *testing.B) {
	stateless := []string{"Mcp-Protocol-Version: 2026-07-28"}
	call := append(stateless, "Mcp-Method: tools/call", "Mcp-Name: echo")
	request := statelessBody("1", "tools/call", `"name":"echo","arguments":{"message":"hello, bench"}`)
	b.Run("nethttp", func(b *testing.B) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				panic(err)
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(body)
		}))
		b.Cleanup(server.Close)
		postMany(b, server.Listener.Addr().String(), postOf("key", request, call))
	})
	b.Run("notification", func(b *testing.B) {
		g := newGateway(b, nil)
		postMany(b, strings.TrimPrefix(g.url, "http://"), postOf(g.key, `{"jsonrpc":"2.0","method":"notifications/x"}`, stateless))
	})
	b.Run("stateless", func(b *testing.B) {
		g := newGateway(b, func(p *policy.Policy) { p.Servers["modern"] = p.Servers["echo"] })
		postMany(b, strings.TrimPrefix(g.url, "http://"), strings.Replace(postOf(g.key, request, call), "/echo/", "/modern/", 1))
	})
	for name, server := range map[string]string{"session": "echo", "translated": "modern"} {
		b.Run(name, func(b *testing.B) {
			g := newGateway(b, func(p *policy.Policy) { p.Servers["modern"] = p.Servers["echo"] })
			revision := "Mcp-Protocol-Version: 2025-11-25"
			session := g.session(server)
			g.do("POST", server, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, session, revision)
			postMany(b, strings.TrimPrefix(g.url, "http://"), strings.Replace(postOf(g.key, toolCall("1", "again", ""), []string{session, revision}), "/echo/", "/"+server+"/", 1))
		})
	}
}

// postOf is a request as it is sent.
func postOf(key, body string, headers []string) string {
	head := "POST /servers/echo/mcp HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\n" +
		"Accept: application/json, text/event-stream\r\nAuthorization: Bearer " + key + "\r\n"
	for _, header := range headers {
		head += header + "\r\n"
	}
	return head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
}

// postMany posts from many connections at a time.
func postMany(b *testing.B, address, request string) {
	b.Helper()
	b.ReportAllocs()
	b.SetParallelism(8)
	before := cpu(b)
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		answers := bufio.NewReader(conn)
		for pb.Next() {
			if err := postOnce(conn, answers, request); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
}

func postOnce(conn net.Conn, answers *bufio.Reader, request string) error {
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	length := 0
	for first := true; ; first = false {
		line, err := answers.ReadSlice('\n')
		if err != nil {
			return err
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 20")) {
			return fmt.Errorf("got %q", line)
		}
		if len(line) == 2 {
			break
		}
	}
	_, err := answers.Discard(length)
	return err
}

// cpu is what the process has used, in nanoseconds.
func cpu(b *testing.B) int64 {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}
