package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	for text, problem := range map[string]string{
		"http=127.0.0.1:8080":         "",
		"http=:8080":                  "",
		"grpc=[::1]:8082":             "",
		"sse=[fe80::1%lo]:8084":       "",
		"operator=/run/x/o.sock":      "",
		"gprc=:8082":                  "NAME is http, grpc, websocket, sse, admin or operator",
		"http":                        "such as 127.0.0.1:8080",
		":8080":                       "NAME=ADDRESS",
		"http=8080":                   "such as 127.0.0.1:8080",
		"http=localhost:8080":         "such as 127.0.0.1:8080",
		"http=::1:8080":               "such as 127.0.0.1:8080",
		"http=127.0.0.1:65536":        "such as 127.0.0.1:8080",
		"http=/run/http.sock":         "such as 127.0.0.1:8080",
		"operator=:8081":              "absolute path",
		"operator=operator.sock":      "absolute path",
		"operator=/run/x/../o.sock":   "absolute path",
		"operator=/run/x/operator.s/": "absolute path",
	} {
		a := addresses{}
		err := a.Set(text)
		switch {
		case problem == "" && (err != nil || len(a) != 1):
			t.Errorf("%s: got %v, %v", text, a, err)
		case problem != "" && (err == nil || !strings.Contains(err.Error(), problem)):
			t.Errorf("%s: got %v, want %s", text, err, problem)
		}
	}
}

func TestOpenTCP(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	passed := map[string][]net.Listener{"http": {taken}}
	for _, test := range []struct {
		name, address, problem string
	}{
		{"http", "127.0.0.1:0", `"http" was passed, and -listen names one as well`},
		{"grpc", taken.Addr().String(), "address already in use: name another port"},
		{"grpc", "192.0.2.1:8080", "no interface has this address"},
		{"grpc", "[::1]:0", ""},
		{"admin", "127.0.0.1:0", ""},
	} {
		err := addresses{test.name: {test.address}}.open(passed)
		if got := describe(err); (test.problem == "") != (err == nil) || !strings.Contains(got, test.problem) {
			t.Errorf("%s=%s: got %q, want %q", test.name, test.address, got, test.problem)
		}
	}
	for _, name := range []string{"grpc", "admin"} {
		if len(passed[name]) != 1 {
			t.Fatalf("%s: %d listeners, want 1", name, len(passed[name]))
		}
		passed[name][0].Close()
	}
}

func TestAnIPv4WildcardIsNoIPv6(t *testing.T) {
	t.Parallel()
	for address, network := range map[string]string{"0.0.0.0:0": "0.0.0.0", ":0": "::"} {
		listener, err := openTCP(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := listener.Addr().(*net.TCPAddr).IP.String(); got != network {
			t.Errorf("%s: listens on %s, want %s", address, got, network)
		}
		listener.Close()
	}
}

func describe(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestOperatorSocket replaces what a killed proxy has left, and nothing else.
func TestOperatorSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "operator.sock")
	open := func() (net.Listener, error) {
		passed := map[string][]net.Listener{}
		err := addresses{"operator": {path}}.open(passed)
		if err != nil {
			return nil, err
		}
		return passed["operator"][0], nil
	}
	first, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket: %v, %v, want mode 0600", info.Mode(), err)
	}
	if _, err := open(); err == nil || !strings.Contains(err.Error(), "somebody listens there") {
		t.Errorf("a second proxy: got %v, want a refusal", err)
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false) // it is killed
	first.Close()
	second, err := open()
	if err != nil {
		t.Fatalf("a stale socket was not replaced: %v", err)
	}
	second.Close()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("a proxy that ends leaves its socket: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file: got %v, want a refusal", err)
	}
	path = filepath.Join(path, "below", "operator.sock")
	if _, err := open(); err == nil {
		t.Error("a path below a file was taken")
	}
	path = filepath.Join(t.TempDir(), "missing", "operator.sock")
	if _, err := open(); err == nil || !strings.Contains(err.Error(), "a folder of its own") {
		t.Errorf("no folder: got %v, want a hint", err)
	}
}
