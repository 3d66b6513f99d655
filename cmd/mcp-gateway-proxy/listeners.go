package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"

	"mcpgateway/proxy"
)

// listeners are those that are not for clients.
type listeners struct{ admin, operator []net.Listener }

// openAll takes the listeners that were passed (sd_listen_fds(3)) and opens those that
// were asked for, by the name of their transport. Those named "admin" serve the health
// checks, and those named "operator" root.
func openAll(wanted addresses) (clients proxy.Listeners, own listeners, err error) {
	named, err := activation.ListenersWithNames()
	if err != nil {
		return clients, own, err
	}
	if err := wanted.open(named); err != nil {
		return clients, own, err
	}
	for name, listeners := range named {
		switch name {
		case "http":
			clients.HTTP = listeners
		case "grpc":
			clients.GRPC = listeners
		case "websocket":
			clients.WebSocket = listeners
		case "sse":
			clients.SSE = listeners
		case "admin":
			own.admin = listeners
		case "operator":
			own.operator = listeners
		default:
			return clients, own, fmt.Errorf("a listener named %.100q was passed: FileDescriptorName= must be %s", name, allNames())
		}
	}
	if len(clients.HTTP)+len(clients.GRPC)+len(clients.WebSocket)+len(clients.SSE) == 0 {
		return clients, own, errors.New("no listener for clients was passed: start the proxy by its socket units, or by mcp-gateway up; " +
			"without a service manager, name what to listen on, as in -listen http=127.0.0.1:8080")
	}
	return clients, own, nil
}

// names are those of listeners.
func names() []string { return []string{"http", "grpc", "websocket", "sse", "admin", "operator"} }

func allNames() string {
	all := names()
	last := len(all) - 1
	return strings.Join(all[:last], ", ") + " or " + all[last]
}

// addresses are what the proxy itself listens on, by name: flag.Value.
type addresses map[string][]string

func (a addresses) String() string { return "" }

// Set takes NAME=ADDRESS.
func (a addresses) Set(text string) error {
	name, address, _ := strings.Cut(text, "=")
	if !slices.Contains(names(), name) {
		return fmt.Errorf("want NAME=ADDRESS, where NAME is %s", allNames())
	}
	check := checkTCP
	if name == "operator" {
		check = checkPath
	}
	if err := check(address); err != nil {
		return err
	}
	a[name] = append(a[name], address)
	return nil
}
