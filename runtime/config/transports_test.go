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

func TestPorts(t *testing.T) {
	t.Parallel()
	const want = `want ports of 1 to 65535, the lower first, as in "8100-8199", or one of them`
	const few = "t.yaml:1:26: transports.port_range: has too few ports that are neither reserved nor another listener's: widen it"
	both := "grpc: {enabled: true}"
	for _, tt := range []struct {
		name, transports string
		low, high        int
		reserved         string // the ports of 8100 to 8109 that are
		err              string
	}{
		{"none", both, 0, 0, "", ""},
		{"a range", `port_range: "8100-8199"`, 8100, 8199, "", ""},
		{"without quotes", `port_range: 8100-8199`, 8100, 8199, "", ""},
		{"one", `port_range: 8100`, 8100, 8100, "", ""},
		{"below 1024", `port_range: "1-65535"`, 1, 65535, "", ""},
		{"reserved", `port_range: 8100-8109, reserved_ports: [8103, "8105", 8107-8108]`, 8100, 8109, "3578", ""},
		{"reserved alone", `reserved_ports: [8100]`, 0, 0, "0", ""},
		{"just enough", `port_range: "8100-8102", reserved_ports: [8101], ` + both, 8100, 8102, "1", ""},
		{"its own port may be reserved", `port_range: "8100-8100", reserved_ports: [8101], http: {port: 8101}, ` + both, 8100, 8100, "1", ""},
		{"nobody wants one", `port_range: "8100-8100", reserved_ports: [8100], http: {port: 8101}`, 8100, 8100, "0", ""},

		{"zero", `port_range: "0-10"`, 0, 0, "", "t.yaml:1:26: transports.port_range: " + want},
		{"too high", `port_range: "1-65536"`, 0, 0, "", "t.yaml:1:26: transports.port_range: " + want},
		{"reversed", `port_range: "9-8"`, 0, 0, "", "t.yaml:1:26: transports.port_range: " + want},
		{"half", `port_range: "9-"`, 0, 0, "", "t.yaml:1:26: transports.port_range: " + want},
		{"three ends", `port_range: "8-9-10"`, 0, 0, "", "t.yaml:1:26: transports.port_range: " + want},
		{"spaces", `port_range: "8 - 9"`, 0, 0, "", "t.yaml:1:26: transports.port_range: " + want},
		{"signed", `port_range: "+8"`, 0, 0, "", "t.yaml:1:26: transports.port_range: " + want},
		{"a list", `port_range: [8, 9]`, 0, 0, "", "t.yaml:1:14: transports.port_range: is no text: put it in quotes"},
		{"a wrong one", `reserved_ports: [8100, 70000]`, 0, 0, "", "t.yaml:1:37: transports.reserved_ports[1]: " + want},
		{"no list", `reserved_ports: 8100`, 0, 0, "", "t.yaml:1:30: transports.reserved_ports: is 8100, want a list"},

		{"too few", `port_range: "8100-8100", ` + both, 0, 0, "", few},
		{"all reserved", `port_range: "8100-8109", reserved_ports: [8100-8108], ` + both, 0, 0, "", few},
		{"another's", `port_range: "8100-8101", grpc: {enabled: true, port: 8100}, websocket: {enabled: true, port: 8101}`, 0, 0, "", few},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, _, err := Parse("t.yaml", []byte("transports: {"+tt.transports+"}"), unset)
			if got := fmt.Sprint(err); got != tt.err && (err != nil || tt.err != "") {
				t.Fatalf("error:\ngot  %s\nwant %s", got, tt.err)
			}
			if err != nil {
				return
			}
			reserved := ""
			for port := 8100; port < 8110; port++ {
				if c.Transports.Reserved(port) {
					reserved += fmt.Sprint(port % 10)
				}
			}
			if got := c.Transports.PortRange; got != (Ports{tt.low, tt.high}) || reserved != tt.reserved {
				t.Errorf("got %v without %q, want %d to %d without %q", got, reserved, tt.low, tt.high, tt.reserved)
			}
		})
	}
}

// TOML says the same.
func TestPortsInTOML(t *testing.T) {
	t.Parallel()
	c, _, err := Parse("t.toml", []byte("[transports]\nport_range = \"8100-8199\"\nreserved_ports = [8110, \"8120-8129\"]"), unset)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(c.Transports.PortRange, c.Transports.ReservedPorts), "{8100 8199} [{8110 8110} {8120 8129}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Early at boot the folders and the variables that a configuration names are not there.
func TestLoadTransports(t *testing.T) {
	t.Parallel()
	placeholder := func(string) (string, bool) { return "unknown", true }
	content := `
transports:
  port_range: 8100-8199
  http: {port: 0, tls: {cert_file: /nowhere/cert.pem, key_file: /nowhere/key.pem}}
  grpc: {enabled: true, port: 8443}
projects: {alpha: {allowed_directories: [/nowhere]}}
servers: {files: {project: alpha, command: cat, env: {KEY: "${KEY}", PASSWORD: "${file:/nowhere}"}, mounts: [/nowhere]}}
`
	got, mistakes, err := LoadTransports(write(t, "t.yaml", content), placeholder)
	if err != nil || len(mistakes) > 0 {
		t.Fatalf("got %v and %v", mistakes, err)
	}
	if got.PortRange != (Ports{8100, 8199}) || len(got.Listeners()) != 2 || got.GRPC.Port != 8443 {
		t.Errorf("got %+v", got)
	}
	if _, mistakes, err = LoadTransports(write(t, "t.yaml", `{transports: {http: {port: "${PORT}"}}}`), placeholder); err != nil || len(mistakes) != 1 {
		t.Errorf("an unknown port: got %v and %v", mistakes, err)
	}
	if _, _, err = LoadTransports("/nowhere/t.yaml", placeholder); err == nil {
		t.Error("no file: want an error")
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
