package main

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mcpgateway/runtime/ports"
)

// generated runs the generator and gives what it wrote, by path, and what it logged.
func generated(t *testing.T, configuration, remembered string) (files map[string]string, log string) {
	t.Helper()
	dir := t.TempDir()
	var out bytes.Buffer
	g := generator{config: filepath.Join(dir, "mcp-gateway.yaml"), memory: filepath.Join(dir, "ports.json"), out: filepath.Join(dir, "out"), log: &out}
	for path, content := range map[string]string{g.config: configuration, g.memory: remembered} {
		if content == "" {
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(g.out, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := g.run(); err != nil {
		g.warn(err)
	}
	files = make(map[string]string)
	err := filepath.WalkDir(g.out, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, _ := filepath.Rel(g.out, path)
		if entry.Type()&os.ModeSymlink != 0 {
			files[name], err = os.Readlink(path)
			return err
		}
		content, err := os.ReadFile(path)
		files[name] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, strings.ReplaceAll(out.String(), dir+"/", "")
}

// streams are the lines of the drop-ins that say where sockets are opened, and which
// sockets are opened with the first one.
func streams(files map[string]string) string {
	var all []string
	for _, unit := range socketUnits() {
		where := "-"
		for line := range strings.Lines(files[unit.name+".d/50-mcp-gateway.conf"]) {
			if address, ok := strings.CutPrefix(line, "ListenStream="); ok {
				where = strings.TrimSpace(address)
			}
			if strings.HasPrefix(line, "Condition") {
				where = "off"
			}
		}
		if files["mcp-gateway-proxy.socket.wants/"+unit.name] == "/usr/lib/systemd/system/"+unit.name {
			where += "+"
		}
		all = append(all, where)
	}
	return strings.Join(all, " ")
}

func TestGenerator(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, transports, remembered string
		want                         string // of http, grpc, websocket, sse
		log                          string // some of it; "": nothing
	}{
		{"ports of their own", "{http: {port: 9000}, grpc: {enabled: true, port: 9443, address: 0.0.0.0}}", "", "127.0.0.1:9000 0.0.0.0:9443+ off off", ""},
		{"every transport", "{http: {port: 1}, grpc: {enabled: true, port: 2, address: '::1'}, websocket: {enabled: true, port: 3}, sse: {enabled: true, port: 4, address: 'fe80::1%eth0'}}", "",
			"127.0.0.1:1 [::1]:2+ 127.0.0.1:3+ [fe80::1]:4%%eth0+", ""},
		{"where http is", "{http: {port: 9000}, websocket: {enabled: true}, sse: {enabled: true}}", "", "127.0.0.1:9000 off off off", ""},
		{"without http", "{http: {enabled: false}, grpc: {enabled: true, port: 9443}}", "", "off 127.0.0.1:9443+ off off", ""},
		{"the unit's own, without a range", "{http: {address: 127.73.1.1}, grpc: {enabled: true, address: 127.73.1.1}}", "", "127.73.1.1:8080 127.73.1.1:8082+ off off", ""},
		{"a range", "{port_range: 9100-9109, reserved_ports: [9100], http: {address: 127.73.1.2}, grpc: {enabled: true, address: 127.73.1.2}}", "", "127.73.1.2:9102 127.73.1.2:9101+ off off", ""},
		{"the admin port is taken", "{port_range: 8081-8082, http: {address: 127.73.1.3}}", "", "127.73.1.3:8082 off off off", ""},
		{"remembered", "{port_range: 9100-9109, http: {address: 127.73.1.4}}", `{"version":1,"ports":{"http":{"address":"127.73.1.4","port":9107}}}`, "127.73.1.4:9107 off off off", ""},
		{"another address", "{port_range: 9100-9109, http: {address: 127.73.1.5}}", `{"version":1,"ports":{"http":{"address":"127.0.0.1","port":9107}}}`, "127.73.1.5:9107 off off off", ""},
		{"a network that is not up", "{port_range: 9100-9109, http: {address: 192.0.2.1}}", "", "192.0.2.1:9100 off off off", ""},
		{"a variable with a default", "\n  http:\n    port: ${PORT:-9000}", "", "127.0.0.1:9000 off off off", ""},

		{"a variable that is not known", "\n  http:\n    port: ${PORT}", "", "- - - -", "mcp-gateway.yaml: the gateway listens where its socket units say"},
		{"and is not known now", "\n  http:\n    port: ${PORT}", `{"version":1,"ports":{"http":{"address":"127.0.0.1","port":9107},"sse":{"address":"::","port":9108}}}`,
			"127.0.0.1:9107 off off [::]:9108+", "mcp-gateway.yaml: the gateway listens where it did"},
		{"a mistake", "{http: {ports: 9000}}", "", "- - - -", `mcp-gateway.yaml:1:21: transports.http.ports: unknown key: did you mean "port"?`},
		{"what others wrote", "{http: {port: 9000}}", `{"version":1,"ports":{"http":{"port":22}}}`, "127.0.0.1:9000 off off off", "http has no address of its own"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			files, log := generated(t, "transports: "+tt.transports, tt.remembered)
			if got := streams(files); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if !strings.Contains(log, tt.log) || tt.log == "" && log != "" {
				t.Errorf("log: got %q, want %q in it", log, tt.log)
			}
			for line := range strings.Lines(log) {
				if !strings.HasPrefix(line, fmt.Sprintf("<4>mcp-gateway-generator[%d]: ", os.Getpid())) {
					t.Errorf("log: got %q, want the form of the kernel's", line)
				}
			}
			if len(files) > 0 != strings.Contains(files["mcp-gateway-ports.json"], `"version": 1`) {
				t.Errorf("what is to be remembered: got %q", files["mcp-gateway-ports.json"])
			}
		})
	}
}

// Nothing but transports counts, and no configuration is no harm.
func TestGeneratorLooksAtTransportsOnly(t *testing.T) {
	t.Parallel()
	files, log := generated(t, `
transports: {http: {port: 9000, tls: {cert_file: /nowhere/cert.pem, key_file: /nowhere/key.pem}}}
servers:
  files: {command: "${PROGRAM}", timeout: "${TIMEOUT}", mounts: [/nowhere], env: {KEY: "${KEY}", PASSWORD: "${exec:vault:a}"}}
`, "")
	if got := streams(files); got != "127.0.0.1:9000 off off off" || log != "" {
		t.Errorf("got %s, and the log %q", got, log)
	}
	files, log = generated(t, "", "")
	if len(files) > 0 || !strings.Contains(log, "no such file") {
		t.Errorf("without a configuration: got %v, and the log %q", files, log)
	}
	files, log = generated(t, "transports: [", "")
	if len(files) > 0 || !strings.Contains(log, "not valid YAML") {
		t.Errorf("without YAML: got %v, and the log %q", files, log)
	}
}

// What another process than systemd has is not the gateway's any more.
func TestGeneratorEvades(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp4", "127.73.2.1:9107")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	const remembered = `{"version":1,"ports":{"http":{"address":"127.73.2.1","port":9107}}}`
	files, log := generated(t, "transports: {port_range: 9106-9109, http: {address: 127.73.2.1}}", remembered)
	if got := streams(files); got != "127.73.2.1:9106 off off off" || log != "" {
		t.Errorf("got %s, and the log %q, want the lowest free one", got, log)
	}
	files, log = generated(t, "transports: {port_range: 9107, http: {address: 127.73.2.1}}", remembered)
	if got := streams(files); got != "127.73.2.1:9107 off off off" || !strings.Contains(log, fmt.Sprintf("is held by %q (pid %d,", "mcp-gateway.tes", os.Getpid())) {
		t.Errorf("a range that is full: got %s, and the log %q, want the place that it had, and who has it", got, log)
	}
}

// The drop-ins are all that there is to them.
func TestDropIns(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	g := generator{config: "/etc/mcp-gateway/mcp-gateway.yaml", memory: "/run/mcp-gateway/ports.json", out: dir}
	const head = `# Made of transports.TRANSPORT in /etc/mcp-gateway/mcp-gateway.yaml. After a change there:
# systemctl daemon-reload && systemctl restart mcp-gateway-proxy.socket mcp-gatewayd
[Unit]
`
	const remember = `ExecStartPost=-install -D -m 0644 /run/systemd/generator/mcp-gateway-ports.json /run/mcp-gateway/ports.json.%N
ExecStartPost=-mv -f /run/mcp-gateway/ports.json.%N /run/mcp-gateway/ports.json
`
	for i, tt := range []struct{ address, want string }{
		{"127.0.0.1", head + "\n[Socket]\nListenStream=\nListenStream=127.0.0.1:9000\n" + remember},
		{"::", head + "PartOf=mcp-gateway-proxy.socket\n\n[Socket]\nListenStream=\nListenStream=[::]:9000\nBindIPv6Only=both\n" + remember},
		{"192.0.2.1", head + "PartOf=mcp-gateway-proxy.socket\n\n[Socket]\nListenStream=\nListenStream=192.0.2.1:9000\nFreeBind=yes\n" + remember},
		{"", head + `PartOf=mcp-gateway-proxy.socket
Description=MCP Gateway: transports.sse has no listener of its own
# Never: the configuration does not want this socket.
ConditionPathExists=!/
`},
	} {
		unit := socketUnits()[i]
		address, err := netip.ParseAddr(tt.address)
		if err := g.dropIn(unit, ports.Place{Address: address, Port: 9000}, err == nil); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(filepath.Join(dir, unit.name+".d/50-mcp-gateway.conf"))
		if err != nil {
			t.Fatal(err)
		}
		got := strings.ReplaceAll(string(content), dir, "/run/systemd/generator")
		if want := strings.ReplaceAll(tt.want, "TRANSPORT", unit.transport); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", unit.name, got, want)
		}
	}
}
