package main

import (
	"errors"
	"fmt"
	"net"

	"github.com/coreos/go-systemd/v22/activation"

	"mcpgateway/proxy"
)

// listeners are those that are not for clients.
type listeners struct{ admin, operator []net.Listener }

// inherit takes the listeners that were passed (sd_listen_fds(3)), by the name of
// their transport; those named "admin" serve the health checks, and those named
// "operator" root. The proxy opens none itself.
func inherit() (clients proxy.Listeners, own listeners, err error) {
	named, err := activation.ListenersWithNames()
	if err != nil {
		return clients, own, err
	}
	found := 0
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
			continue
		case "operator":
			own.operator = listeners
			continue
		default:
			return clients, own, fmt.Errorf("a listener named %.100q was passed: FileDescriptorName= must be http, grpc, websocket, sse, admin or operator", name)
		}
		found += len(listeners)
	}
	if found == 0 {
		return clients, own, errors.New("no listener for clients was passed: start the proxy by its socket units, or by mcp-gateway up")
	}
	return clients, own, nil
}
