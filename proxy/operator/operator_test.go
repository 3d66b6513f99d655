package operator

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/breaker"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/pins"
)

// source stands in for the proxy.
type source struct{}

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

// serve runs an operator for a user and returns a client of its socket.
func serve(t *testing.T, user int) *http.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "operator.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	o := New(source{}, uint32(user), slog.New(slog.NewTextHandler(t.Output(), nil)))
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
		status             int
		want               string
	}{
		{"servers", "GET", "/servers", 200, `{"servers":[{"name":"down","tool_pins":"off"},{"name":"files","tool_pins":"block"}]}`},
		{"tools", "GET", "/tools?server=files", 200, `{"server":"files","mode":"","tools":[{"name":"a","state":"new","definition":{"name":"a","n":1.0}}]}`},
		{"a server that is down", "GET", "/tools?server=down", 502, `{"error":"it is down"}`},
		{"instances", "GET", "/instances", 200,
			`{"instances":[{"server":"files","place":"replica:0","in_flight":0,"breaker":"open","failures":5,"until":"1970-01-01T00:01:00Z","cause":"it ended"}]}`},
		{"no such server", "GET", "/tools?server=x", 404, `there is no enabled server`},
		{"no server", "GET", "/tools", 404, `there is no enabled server`},
		{"another path", "GET", "/", 404, ""},
		{"another method", "POST", "/tools?server=files", 405, ""},
	}
	client := serve(t, os.Getuid())
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), test.method, "http://operator"+test.path, nil)
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
