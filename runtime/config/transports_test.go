package config

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mcpgateway/policy"
	"mcpgateway/runtime/document"
)

func TestListeners(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, transports string
		want             string // listeners with their ports
		websocket, sse   bool   // on HTTP's listener
	}{
		{"none named", "{}", "http:0", false, false},
		{"all", "{grpc: {enabled: true}, websocket: {enabled: true}, sse: {enabled: true}}", "grpc:0 http:0", true, true},
		{"ports of their own", "{http: {port: 1}, websocket: {enabled: true, port: 2}, sse: {enabled: true, port: 3}}", "http:1 sse:3 websocket:2", false, false},
		{"one of them", "{websocket: {enabled: true, port: 2}, sse: {enabled: true}}", "http:0 websocket:2", false, true},
		{"ports of what is off", "{websocket: {port: 2}, sse: {port: 3}, grpc: {port: 4}}", "http:0", false, false},
		{"without HTTP", "{http: {enabled: false}, websocket: {enabled: true}, sse: {enabled: true, port: 3}}", "sse:3 websocket:0", false, false},
		{"gRPC alone", "{http: {enabled: false}, grpc: {enabled: true, port: 4}}", "grpc:4", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, _, err := Parse("t.yaml", []byte("transports: "+tt.transports), unset)
			if err != nil {
				t.Fatal(err)
			}
			transports := &c.Transports
			var got []string
			listeners := transports.Listeners()
			for _, name := range slices.Sorted(maps.Keys(listeners)) {
				got = append(got, fmt.Sprintf("%s:%d", name, listeners[name].Port))
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("listeners: got %s, want %s", got, tt.want)
			}
			if got := transports.OnHTTP(transports.WebSocket.Listener); got != tt.websocket {
				t.Errorf("WebSocket on HTTP's: got %v", got)
			}
			if got := transports.OnHTTP(transports.SSE.Listener); got != tt.sse {
				t.Errorf("HTTP+SSE on HTTP's: got %v", got)
			}
		})
	}
}

// certificates makes the files of a listener. What is in them plays no part.
func certificates(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, mode := range map[string]os.FileMode{"cert": 0o644, "key": 0o600, "ca": 0o644, "shared": 0o640, "open": 0o644, "loose": 0o622, "empty": 0o644, "large": 0o644} {
		content := []byte(name)
		switch name {
		case "empty":
			content = nil
		case "large":
			content = make([]byte, document.MaxFileSize+1)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("cert", filepath.Join(dir, "renewed")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := certificates(t)
	for _, tt := range []struct {
		name, tls string // {} stands for the folder
		want      *policy.TLS
		err       string // all of it behind the position
	}{
		{"none", "{}", nil, ""},
		{"a pair", "{cert_file: {}/cert, key_file: {}/key}", &policy.TLS{Certificate: []byte("cert"), Key: []byte("key")}, ""},
		{"with clients", "{cert_file: {}/cert, key_file: {}/key, client_ca_file: {}/ca}",
			&policy.TLS{Certificate: []byte("cert"), Key: []byte("key"), ClientCA: []byte("ca")}, ""},
		{"a key of a group, a link", "{cert_file: {}/renewed, key_file: {}/shared}", &policy.TLS{Certificate: []byte("cert"), Key: []byte("shared")}, ""},
		{"no key", "{cert_file: {}/cert}", nil, "2:10: transports.grpc.tls: needs both a cert_file and a key_file"},
		{"no certificate", "{key_file: {}/key}", nil, "2:10: transports.grpc.tls: needs both a cert_file and a key_file"},
		{"clients alone", "{client_ca_file: {}/ca}", nil, "2:10: transports.grpc.tls: needs both a cert_file and a key_file"},
		{"not there", "{cert_file: {}/none, key_file: {}/key}", nil,
			"2:27: transports.grpc.tls.cert_file: open {}/none: no such file or directory"},
		{"others read the key", "{cert_file: {}/cert, key_file: {}/open}", nil,
			"2:KEY: transports.grpc.tls.key_file: {}/open: can be read by others (mode 0644): run chmod o-r {}/open"},
		{"others write the key", "{cert_file: {}/cert, key_file: {}/loose}", nil,
			"2:KEY: transports.grpc.tls.key_file: {}/loose: can be written by its group or others (mode 0622): run chmod go-w {}/loose"},
		{"others write the certificate", "{cert_file: {}/loose, key_file: {}/key}", nil,
			"2:27: transports.grpc.tls.cert_file: {}/loose: can be written by its group or others (mode 0622): run chmod go-w {}/loose"},
		// Nobody's certificate would be asked for.
		{"no authority", "{cert_file: {}/cert, key_file: {}/key, client_ca_file: {}/empty}", nil,
			"2:CA: transports.grpc.tls.client_ca_file: {}/empty is empty, or larger than 1048576 bytes"},
		{"large", "{cert_file: {}/large, key_file: {}/key}", nil,
			"2:27: transports.grpc.tls.cert_file: {}/large is empty, or larger than 1048576 bytes"},
		{"a folder", "{cert_file: {}, key_file: {}/key}", nil, "2:27: transports.grpc.tls.cert_file: {}: is not a regular file"},
		{"relative", "{cert_file: cert, key_file: {}/key}", nil, `2:27: transports.grpc.tls.cert_file: is "cert", want an absolute path`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			line := "  grpc: {tls: " + strings.ReplaceAll(tt.tls, "{}/", dir+"/")
			line = strings.ReplaceAll(line, "cert_file: {},", "cert_file: "+dir+",") + "}"
			c, _, err := Parse("t.yaml", []byte("transports:\n"+line), unset)
			got := ""
			if err != nil {
				got = err.Error()
			}
			place := func(key string) string { return fmt.Sprint(strings.Index(line, key) + len(key) + 1) }
			want := strings.NewReplacer("{}", dir, "KEY", place("key_file: "), "CA:", place("client_ca_file: ")+":").Replace(tt.err)
			if want != "" {
				want = "t.yaml:" + want
			}
			if got != want {
				t.Fatalf("error:\ngot  %s\nwant %s", got, want)
			}
			if err == nil && !reflect.DeepEqual(c.Transports.GRPC.TLS.PEM, tt.want) {
				t.Errorf("got %+v, want %+v", c.Transports.GRPC.TLS.PEM, tt.want)
			}
		})
	}
}

func TestInstances(t *testing.T) {
	t.Parallel()
	c, _, err := Parse("t.yaml", []byte(`
servers:
  plain: {command: c, timeout: 3s}
  shared: {command: c, instances: shared, replicas: 4, strategy: round-robin, warm: 2, max_timeout: 5m}
`), unset)
	if err != nil {
		t.Fatal(err)
	}
	type values struct {
		instances      policy.Instances
		replicas, warm int
		strategy       policy.Strategy
		maxTimeout     string
	}
	for name, want := range map[string]values{
		"plain":  {policy.InstancesDefault, 1, 0, policy.StrategyLeastBusy, "30s"},
		"shared": {policy.InstancesShared, 4, 2, policy.StrategyRoundRobin, "5m0s"},
	} {
		s := c.Servers[name]
		if got := (values{s.Instances, s.Replicas, s.Warm, s.Strategy, s.MaxTimeout.String()}); got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}
