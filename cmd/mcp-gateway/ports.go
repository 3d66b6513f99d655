package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"mcpgateway/proxy/report"
	"mcpgateway/runtime/config"
	"mcpgateway/runtime/ports"
)

const (
	portsFile    = "ports.json"                  // in the state folder
	servicePorts = "/run/mcp-gateway/ports.json" // of a gateway under systemd
)

// portsOf finds what is remembered of the ports of the gateway with a state folder.
func portsOf(state string) string {
	if filepath.Clean(state) == defaultState && exists(servicePorts) {
		return servicePorts
	}
	return filepath.Join(state, portsFile)
}

// rememberedPorts reads a file of ports. One that is no good is not used, and overwritten.
func rememberedPorts(path string, problems io.Writer) ports.Memory {
	m, err := ports.Load(path)
	if err != nil {
		fmt.Fprintf(problems, "mcp-gateway: warning: %s: it is not used\n", shown(err.Error()))
	}
	return m
}

// markAssigned marks those of a gateway's listeners whose port was assigned.
func markAssigned(listeners []report.Listener, places ports.Memory) {
	for i, l := range listeners {
		place := places[l.Transport]
		listeners[i].Assigned = place.Assigned && place.String() == l.Address
	}
}

func listenerText(transport, address string, assigned bool) string {
	if assigned {
		address += " (assigned)"
	}
	return transport + " " + address
}

// sayPlaces says where a gateway that does not run listened.
func sayPlaces(out io.Writer, places ports.Memory) {
	for _, name := range slices.Sorted(maps.Keys(places)) {
		fmt.Fprintf(out, "  listened  %s\n", listenerText(name, places[name].String(), places[name].Assigned))
	}
}

// rememberPorts keeps the addresses of listeners for the next start.
func rememberPorts(path string, m ports.Memory) error {
	content, err := m.Encode()
	if err == nil {
		err = replaceFileAs(path, content, 0o644)
	}
	if err != nil {
		return fmt.Errorf("remember ports: %w", err)
	}
	return nil
}

// portRules are a configuration's rules for ports, for whoever opens them.
func portRules(t *config.Transports, remembered ports.Memory) ports.Rules {
	return ports.Rules{First: t.PortRange.First, Last: t.PortRange.Last, Reserved: t.Reserved, Remembered: remembered, Named: namedHolder}
}

func wantedListeners(t *config.Transports) (wanted []ports.Wanted) {
	for name, l := range t.Listeners() {
		address, _ := netip.ParseAddr(l.Address) // config has checked it
		wanted = append(wanted, ports.Wanted{Name: name, Address: address, Port: l.Port})
	}
	return wanted
}

// namedHolder asks systemd which of its units holds a port.
func namedHolder(h ports.Holder) ports.Holder {
	if !h.Systemd() {
		return h
	}
	for line := range strings.Lines(systemctl(context.Background(), "list-sockets", "--full", "--plain", "--no-legend")) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == h.Bound.String() {
			h.Unit = shown(fields[1])
		}
	}
	return h
}
