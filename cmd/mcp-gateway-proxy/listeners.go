package main

import (
	"errors"
	"net"

	"github.com/coreos/go-systemd/v22/activation"
)

// listeners are the sockets that the proxy serves; it opens none itself.
type listeners struct{ http, admin []net.Listener }

// inherit takes the listeners that were passed (sd_listen_fds(3)): those named
// "http" serve clients, those named "admin" the health checks.
func inherit() (listeners, error) {
	named, err := activation.ListenersWithNames()
	if err != nil {
		return listeners{}, err
	}
	found := listeners{http: named["http"], admin: named["admin"]}
	if len(found.http) == 0 {
		return listeners{}, errors.New(`no listener named "http" was passed: start the proxy by its socket unit, or by mcp-gateway up`)
	}
	return found, nil
}
