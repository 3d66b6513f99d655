package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"mcpgateway/runtime/config"
	"mcpgateway/runtime/document"
	"mcpgateway/runtime/ports"
)

// generatorName is the name by which systemd runs this program as a generator.
const generatorName = "mcp-gateway-generator"

// proxyUnit is the proxy's first socket unit, and what its others begin with.
const proxyUnit = "mcp-gateway-proxy"

// restartSockets has transports listen where the configuration says now. The daemon takes
// no other listeners while it runs, and the proxy gets its own when it starts.
const restartSockets = "systemctl daemon-reload && systemctl restart mcp-gateway-proxy.socket mcp-gatewayd"

// adminPort is the one of mcp-gateway-proxy-admin.socket, which the configuration does
// not change.
const adminPort = 8081

// socketUnit is a socket unit of the proxy for a transport.
type socketUnit struct {
	transport, name string
	port            int // the one that the unit has by itself
}

func socketUnits() []socketUnit {
	return []socketUnit{
		{"http", proxyUnit + ".socket", 8080},
		{"grpc", proxyUnit + "-grpc.socket", 8082},
		{"websocket", proxyUnit + "-websocket.socket", 8083},
		{"sse", proxyUnit + "-sse.socket", 8084},
	}
}

// generator makes drop-ins for the proxy's socket units, so that the configuration alone
// says where the gateway listens (systemd.generator(7)). systemd waits for it, early at
// boot and in each daemon-reload: it reads two files, looks at nothing else of the host
// but its ports, and asks no other process. What it can't do leaves the units as they are.
type generator struct {
	config string // the configuration
	memory string // where the sockets were opened the last time
	out    string // the folder for units
	log    io.Writer
}

// generate is the generator's main. It never fails: that would keep nothing from happening.
func generate(args []string) {
	if len(args) == 0 {
		fmt.Fprintf(os.Stderr, "%s: systemd runs this, with the folders to write to: see systemd.generator(7)\n", generatorName)
		return
	}
	log := io.Writer(os.Stderr)
	if kernel, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0); err == nil { // the journal's socket may not be there
		defer kernel.Close()
		log = kernel
	}
	g := generator{config: defaultConfig, memory: servicePorts, out: args[0], log: log}
	if err := g.run(); err != nil {
		g.warn(err)
	}
}

func (g *generator) warn(err error) {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(g.log, "<4>%s[%d]: %s\n", generatorName, os.Getpid(), shown(strings.TrimSpace(line)))
	}
}

func (g *generator) run() error {
	remembered, err := ports.Load(g.memory)
	if err != nil {
		g.warn(err)
	}
	places, err := g.places(remembered)
	switch {
	case err == nil:
	case len(remembered) > 0:
		// Sockets that are open would be closed for others.
		g.warn(fmt.Errorf("%w\n%s: the gateway listens where it did", err, g.config))
		places = remembered
	default:
		return fmt.Errorf("%w\n%s: the gateway listens where its socket units say", err, g.config)
	}
	content, err := places.Encode()
	if err == nil {
		err = os.WriteFile(g.placesFile(), content, 0o644)
	}
	for _, unit := range socketUnits() {
		place, ok := places[unit.transport]
		if ok && unit.transport != "http" {
			err = errors.Join(err, g.want(unit))
		}
		err = errors.Join(err, g.dropIn(unit, place, ok))
	}
	return err
}

// places says where each transport is to listen.
func (g *generator) places(remembered ports.Memory) (ports.Memory, error) {
	// The daemon's variables are not there. An empty one leaves a default, if there is any.
	t, mistakes, err := config.LoadTransports(g.config, func(string) (string, bool) { return "", true })
	if err != nil {
		return nil, err
	}
	if mistakes = slices.DeleteFunc(mistakes, isElsewhere); len(mistakes) > 0 {
		return nil, mistakes
	}
	places, assigned := make(ports.Memory), []ports.Wanted(nil)
	fixed := map[int]bool{adminPort: true}
	for _, w := range wantedListeners(t) {
		if w.Port != 0 {
			places[w.Name], fixed[w.Port] = ports.Place{Address: w.Address, Port: w.Port}, true
			continue
		}
		unit := socketUnits()[slices.IndexFunc(socketUnits(), func(u socketUnit) bool { return u.transport == w.Name })]
		w.Usual = unit.port
		assigned = append(assigned, w)
	}
	rules := portRules(t, remembered)
	rules.Reserved = func(port int) bool { return fixed[port] || t.Reserved(port) }
	rules.Absent = true                                          // networks come later
	rules.Own = func(h ports.Holder) bool { return h.Systemd() } // which held it for us when it was remembered
	rules.Named = func(h ports.Holder) ports.Holder { return h } // systemd waits for us
	listeners, err := rules.Open(assigned)
	ports.Close(listeners)
	maps.Copy(places, ports.Remember(listeners))
	if err != nil {
		return nil, err
	}
	return places, nil
}

// isElsewhere reports whether a mistake is in another section than transports. It may be
// none: a variable may be missing.
func isElsewhere(mistake document.Error) bool {
	section := mistake.Text[:max(0, strings.IndexAny(mistake.Text, ".:["))]
	return section != "transports" && slices.ContainsFunc(document.Keys(reflect.TypeFor[config.Config]()), func(f reflect.StructField) bool {
		return f.Tag.Get("config") == section
	})
}

func (g *generator) placesFile() string { return filepath.Join(g.out, "mcp-gateway-ports.json") }

// want has a transport's socket opened with the proxy's first one.
func (g *generator) want(unit socketUnit) error {
	folder := filepath.Join(g.out, proxyUnit+".socket.wants")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	err := os.Symlink(filepath.Join("/usr/lib/systemd/system", unit.name), filepath.Join(folder, unit.name))
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// dropIn changes a socket unit.
func (g *generator) dropIn(unit socketUnit, place ports.Place, enabled bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Made of transports.%s in %s. After a change there:\n# %s\n[Unit]\n", unit.transport, g.config, restartSockets)
	if unit.transport != "http" {
		fmt.Fprintf(&b, "PartOf=%s.socket\n", proxyUnit)
	}
	if enabled {
		b.WriteString("\n[Socket]\nListenStream=\n" + listenStream(place))
		// A generator can write nowhere else: who opens the socket remembers it.
		fmt.Fprintf(&b, "ExecStartPost=-install -D -m 0644 %s %s.%%N\nExecStartPost=-mv -f %[2]s.%%N %[2]s\n", g.placesFile(), g.memory)
	} else {
		fmt.Fprintf(&b, "Description=MCP Gateway: transports.%s has no listener of its own\n# Never: the configuration does not want this socket.\nConditionPathExists=!/\n", unit.transport)
	}
	folder := filepath.Join(g.out, unit.name+".d")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "50-mcp-gateway.conf"), []byte(b.String()), 0o644)
}

// listenStream are the lines of a socket unit for an address, as up opens it.
func listenStream(p ports.Place) string {
	zone := p.Address.Zone()
	line := "ListenStream=" + ports.Place{Address: p.Address.WithZone(""), Port: p.Port}.String()
	if zone != "" {
		line += "%%" + strings.ReplaceAll(zone, "%", "%%") // units have specifiers
	}
	line += "\n"
	switch {
	case p.Address == netip.IPv6Unspecified():
		line += "BindIPv6Only=both\n"
	case !p.Address.IsUnspecified() && !p.Address.IsLoopback():
		line += "FreeBind=yes\n" // networks come later
	}
	return line
}
