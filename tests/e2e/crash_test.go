package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"
)

// soon is how long a session may take to go on with another process.
const soon = time.Second

// killed is why the calls of a process that was killed have failed.
const killed = `was ended by signal 9 (SIGKILL) after `

// TestCrash kills the processes of sessions with a call in flight, which is answered with
// the cause. The next call is answered by another process, and the client is told to look
// at its lists again.
func TestCrash(t *testing.T) {
	t.Parallel()
	g := start(t, "transports: {websocket: {enabled: true}}\n", servers(
		testserver("frail"), testserver("socket"), testserver("final", "on_crash: end-session"),
		testserver("looping", "restart: {limit: 2, backoff: 10ms}")))
	t.Run("over HTTP", func(t *testing.T) {
		s := g.open(t, "frail")
		stream := s.listen(t)
		if text := s.kill(t, g, "frail"); !strings.HasPrefix(text, `server "frail" `+killed) {
			t.Errorf("the call in flight: got %q, want the cause", text)
		}
		began := time.Now()
		if got := s.ask(t, "echo", map[string]int{"n": 1}); got != `{"n":1}` || time.Since(began) > soon {
			t.Errorf("the next call: got %q after %s", got, time.Since(began))
		}
		for event := range stream {
			if strings.Contains(event, "notifications/tools/list_changed") {
				return
			}
		}
		t.Error("got no notice that the tools may have changed")
	})
	t.Run("over WebSocket", func(t *testing.T) { g.crashOverWebSocket(t, "socket") })
	t.Run("end of the session", func(t *testing.T) {
		s := g.open(t, "final")
		if text := s.kill(t, g, "final"); !strings.HasPrefix(text, `server "final" `+killed) {
			t.Errorf("the call in flight: got %q, want the cause", text)
		}
		a := s.call(t, "echo", `{}`)
		if _, text := a.rpcError(t, "1"); a.status != http.StatusNotFound || !strings.HasPrefix(text, `the session has ended: server "final" `+killed) {
			t.Errorf("the next call: got status %d, %q, want 404", a.status, text)
		}
		s.id = ""
	})
	t.Run("crash loop", func(t *testing.T) {
		s := g.open(t, "looping")
		for range 2 {
			s.call(t, "exit", `{"n":7}`)
		}
		a := s.call(t, "echo", `{}`)
		_, text := a.rpcError(t, "1")
		if want := `server "looping" is not started any more: it ended 2 times in a row, the last time because server "looping" exited with status 7`; a.status != http.StatusServiceUnavailable ||
			!strings.HasPrefix(text, want) || !strings.HasSuffix(text, "mcp-gateway servers start looping") {
			t.Errorf("got status %d, %q, want %q and what to do", a.status, text, want)
		}
		g.cli(t, "servers", "start", "looping")
		if got := s.ask(t, "echo", struct{}{}); got != "{}" {
			t.Errorf("after it was started: got %q", got)
		}
	})
}

// kill kills the session's process while a call is in flight, and returns the call's error.
func (s *session) kill(t *testing.T, g *gateway, server string) string {
	t.Helper()
	victim := g.only(t, server)
	called := make(chan answer, 1)
	go func() { called <- s.call(t, "sleep", `{"seconds":60}`) }()
	asked := 0
	eventually(t, "the call has begun", func() bool { asked++; return s.calls(t) > asked })
	g.signal(t, victim.launcher, unix.SIGKILL)
	_, text := (<-called).rpcError(t, "1")
	return text
}

// listen opens the session's stream and gives its lines; it ends with the test.
func (s *session) listen(t *testing.T) <-chan string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Accept": "text/event-stream", "Authorization": "Bearer " + s.key, "Mcp-Session-Id": s.id, "Mcp-Protocol-Version": "2025-11-25",
	} {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request) //nolint:bodyclose // the goroutine below closes it
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("listen: got %v, %v", response, err)
	}
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		defer response.Body.Close()
		for in := bufio.NewScanner(response.Body); in.Scan(); {
			lines <- in.Text()
		}
	}()
	return lines
}

func (g *gateway) crashOverWebSocket(t *testing.T, server string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, response, err := websocket.Dial(ctx, strings.Replace(g.addresses.HTTP, "http", "ws", 1)+"/servers/"+server+"/ws",
		&websocket.DialOptions{Subprotocols: []string{"mcp"}, HTTPHeader: http.Header{"X-Api-Key": {g.addresses.Key}}})
	if err != nil {
		t.Fatal(err)
	}
	if response.Body != nil {
		defer response.Body.Close()
	}
	defer conn.CloseNow()
	send := func(body string) {
		t.Helper()
		if err := conn.Write(ctx, websocket.MessageText, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	// until reads up to the response with an id, and returns all that came.
	until := func(id int) (all []byte) {
		t.Helper()
		for {
			_, data, err := conn.Read(ctx)
			if err != nil {
				t.Fatalf("got %v after %s", err, all)
			}
			all = append(append(all, data...), '\n')
			if bytes.Contains(data, fmt.Appendf(nil, `"id":%d`, id)) {
				return all
			}
		}
	}
	send(initialize)
	until(0)
	send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	send(fmt.Sprintf(callFormat, 1, "", "sleep", `{"seconds":60}`))
	send(fmt.Sprintf(callFormat, 2, "", "echo", `{}`))
	until(2) // and so the first has begun
	g.signal(t, g.only(t, server).launcher, unix.SIGKILL)
	if got := until(1); !bytes.Contains(got, []byte(killed)) {
		t.Errorf("the call in flight: got %s, want the cause", got)
	}
	began := time.Now()
	send(fmt.Sprintf(callFormat, 3, "", "echo", `{"n":3}`))
	got := until(3)
	if !bytes.Contains(got, []byte(`"structuredContent":{"n":3}`)) || time.Since(began) > soon {
		t.Errorf("the next call: got %s after %s", got, time.Since(began))
	}
	if !bytes.Contains(got, []byte("notifications/tools/list_changed")) {
		send(fmt.Sprintf(callFormat, 4, "", "echo", `{}`)) // it may come beside the answer
		if got = append(got, until(4)...); !bytes.Contains(got, []byte("notifications/tools/list_changed")) {
			t.Errorf("got %s, want a notice that the tools may have changed", got)
		}
	}
}
