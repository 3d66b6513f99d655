package operator

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/breaker"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/ledger"
	"mcpgateway/proxy/pins"
	"mcpgateway/proxy/report"
	"mcpgateway/proxy/tail"
	"mcpgateway/proxy/usage"
)

// source stands in for the proxy.
type source struct{ lines *tail.Lines }

func (source) Status() report.Status { return report.Status{Gateway: "g", Ready: true} }

func (source) Servers() []report.Server {
	return []report.Server{{Name: "files", Project: "p", State: report.Idle}}
}

func (source) Server(name string) (report.Detail, bool) {
	return report.Detail{Server: report.Server{Name: name}}, name == "files"
}

func (s source) Follow(server string, n int) (*tail.Reader, error) { return s.lines.Follow(server, n) }

func (s source) Lines(server string, n int) []report.Line { return s.lines.Read(server, n) }

func (source) Start(_ context.Context, server string) (report.Done, error) {
	return report.Done{State: report.Running, Sandboxes: []string{server + "-1"}}, nil
}

func (source) Stop(context.Context, string) (report.Done, error) {
	return report.Done{State: report.Stopped, Ending: 2}, nil
}

func (source) Restart(context.Context, string) (report.Done, error) {
	return report.Done{}, errors.New("it does not start")
}

func (source) Call(_ context.Context, server string, call report.Call) (json.RawMessage, error) {
	return json.RawMessage(`{"called":"` + server + " " + call.Tool + " " + strconv.Itoa(len(call.Arguments)) + `","n":1.0}`), nil
}

func (source) PinModes() map[string]policy.PinMode {
	return map[string]policy.PinMode{"files": policy.PinsBlock, "down": policy.PinsOff}
}

func (source) Listing(_ context.Context, server string) (pins.Listing, error) {
	if server == "down" {
		return pins.Listing{}, errors.New("it is down")
	}
	return pins.Listing{Server: server, Tools: []pins.Listed{{Name: "a", State: pins.New, Definition: []byte(`{"name":"a","n":1.0}`)}}}, nil
}

func (source) States() []fleet.State {
	at := breaker.Place{Server: "files", Instance: "replica:0"}
	return []fleet.State{{State: breaker.State{Place: at, State: "open", Failures: 5, Until: time.Unix(60, 0).UTC(), Cause: "it ended"}}}
}

func (source) Usage(_ context.Context, q ledger.Query) (usage.Report, error) {
	return usage.Report{From: q.From, To: q.To, By: q.By, Lines: []ledger.Line{{By: []string{q.Project}, Amounts: ledger.Amounts{Calls: 7, CPUMicros: 1}}}}, nil
}

// serve runs an operator for a user and returns a client of its socket.
func serve(t *testing.T, user int) *http.Client {
	t.Helper()
	return serveLines(t, user, tail.New())
}

func serveLines(t *testing.T, user int, lines *tail.Lines) *http.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "operator.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	o := New(source{lines}, uint32(user), slog.New(slog.NewTextHandler(t.Output(), nil)))
	go func() { served <- o.Serve(ctx, listener) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return &http.Client{Transport: transport}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, method, path string
		body               string
		status             int
		want               string
	}{
		{"status", "GET", "/status", "", 200, `"gateway":"g"`},
		{"servers", "GET", "/servers", "", 200, `{"servers":[{"name":"files","project":"p","state":"idle"`},
		{"a server", "GET", "/servers/files", "", 200, `"name":"files"`},
		{"a server that is not there", "GET", "/servers/x", "", 404, `there is no enabled server`},
		{"a server that went", "GET", "/servers/down", "", 404, `there is no enabled server`},
		{"a call", "POST", "/servers/files/call", `{"tool":"t","arguments":{"a":1}}`, 200, `{"result":{"called":"files t 7","n":1.0}}`},
		{"a call without arguments", "POST", "/servers/files/call", `{"tool":"t"}`, 200, `files t 0`},
		{"a call of another server", "POST", "/servers/x/call", `{"tool":"t"}`, 404, `there is no enabled server`},
		{"a call of nothing", "POST", "/servers/files/call", `{}`, 400, `it names no tool`},
		{"a call with more", "POST", "/servers/files/call", `{"tool":"t","server":"x"}`, 400, `unknown field`},
		{"two calls", "POST", "/servers/files/call", `{"tool":"t"}{"tool":"u"}`, 400, `something after it`},
		{"a call with a list", "POST", "/servers/files/call", `{"tool":"t","arguments":[]}`, 400, `no object`},
		{"a call that is too long", "POST", "/servers/files/call", `{"tool":"` + strings.Repeat("t", maxBodyBytes) + `"}`, 400, `too large`},
		{"a call that is none", "GET", "/servers/files/call", "", 405, ``},
		{"start", "POST", "/servers/files/start", "", 200, `{"state":"running","sandboxes":["files-1"],"ending":0}`},
		{"stop", "POST", "/servers/files/stop", "", 200, `"ending":2`},
		{"restart", "POST", "/servers/files/restart", "", 502, `it does not start`},
		{"start of nothing", "POST", "/servers/x/start", "", 404, `there is no enabled server`},
		{"start by looking", "GET", "/servers/files/start", "", 405, ``},
		{"lines", "GET", "/servers/files/logs?tail=1", "", 200, `"sandbox":"files-1","text":"two"}` + "\n"},
		{"lines of another server", "GET", "/servers/x/logs", "", 404, `there is no enabled server`},
		{"so many lines", "GET", "/servers/files/logs?tail=-1", "", 400, `no number of lines`},
		{"tools", "GET", "/tools?server=files", "", 200, `{"server":"files","mode":"","tools":[{"name":"a","state":"new","definition":{"name":"a","n":1.0}}]}`},
		{"a server that is down", "GET", "/tools?server=down", "", 502, `{"error":"it is down"}`},
		{"instances", "GET", "/instances", "", 200,
			`{"instances":[{"server":"files","place":"replica:0","in_flight":0,"breaker":"open","failures":5,"until":"1970-01-01T00:01:00Z","cause":"it ended"}]}`},
		{"usage", "GET", "/usage?from=2026-11-28T10:59:59Z&to=2026-11-28T12:00:01%2B01:00&by=project&project=acme", "", 200,
			`{"from":"2026-11-28T10:00:00Z","to":"2026-11-28T12:00:00Z","by":["project"],"lines":[{"by":["acme"],"calls":7,"errors":0,"refused":0,"bytes_in":0,` +
				`"bytes_out":0,"wall_us":0,"cpu_us":1,"memory_kib_s":0,"egress_sent":0,"egress_received":0}]}`},
		{"usage of no time", "GET", "/usage?from=2026-11-28", "", 400, "RFC 3339"},
		{"usage by something", "GET", "/usage?from=2026-11-28T10:00:00Z&to=2026-11-28T12:00:00Z&by=colour", "", 400, "is not known"},
		{"usage of less than nothing", "GET", "/usage?from=2026-11-28T10:00:00Z&to=2026-11-28T09:00:00Z", "", 400, "before"},
		{"no such server", "GET", "/tools?server=x", "", 404, `there is no enabled server`},
		{"no server", "GET", "/tools", "", 404, `there is no enabled server`},
		{"another path", "GET", "/", "", 404, ""},
		{"another method", "POST", "/tools?server=files", "", 405, ""},
	}
	lines := tail.New()
	lines.Keep([]string{"files"})
	lines.Add("files", "files-1", []byte("one"))
	lines.Add("files", "files-1", []byte("two"))
	client := serveLines(t, os.Getuid(), lines)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), test.method, "http://operator"+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != test.status || !strings.Contains(string(body), test.want) {
				t.Errorf("got %d %s, %v, want %d %s", response.StatusCode, body, err, test.status, test.want)
			}
		})
	}
}

// Who follows gets what is written after he came, and makes room when he goes.
func TestFollow(t *testing.T) {
	t.Parallel()
	lines := tail.New()
	lines.Keep([]string{"files"})
	lines.Add("files", "files-1", []byte("before"))
	client := serveLines(t, os.Getuid(), lines)
	for range 20 { // more than may follow at a time
		ctx, cancel := context.WithCancel(t.Context())
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://operator/servers/files/logs?follow=1&tail=0", nil)
		if err != nil {
			t.Fatal(err)
		}
		var response *http.Response
		for response == nil || response.StatusCode == http.StatusServiceUnavailable { // the one before may not be gone yet
			if response != nil {
				response.Body.Close()
			}
			if response, err = client.Do(request); err != nil {
				t.Fatal(err)
			}
		}
		lines.Add("files", "files-2", []byte("after"))
		var line report.Line
		if err := json.NewDecoder(response.Body).Decode(&line); err != nil || line.Text != "after" || line.Sandbox != "files-2" {
			t.Errorf("got %+v, %v, want the line that came", line, err)
		}
		cancel()
		response.Body.Close()
	}
}

// Whoever gets hold of the socket all the same is asked who he is.
func TestOthersAreRefused(t *testing.T) {
	t.Parallel()
	response, err := serve(t, os.Getuid()+1).Get("http://operator/servers")
	if err == nil {
		response.Body.Close()
		t.Errorf("got %s, want no answer", response.Status)
	}
}

func TestOnlyUnixSockets(t *testing.T) {
	t.Parallel()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	go func() {
		if conn, err := net.Dial("tcp", tcp.Addr().String()); err == nil {
			conn.Close()
		}
	}()
	conn, err := tcp.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if user, err := peer(conn); err == nil {
		t.Errorf("got user %d of a TCP connection, want an error", user)
	}
}
