package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"mcpgateway/policy"
	"mcpgateway/runtime/config"
	"mcpgateway/runtime/ports"
)

// addresses is what the ready file says. The address of a transport that is off is
// empty.
type addresses struct {
	HTTP      string `json:"http"`      // URL
	GRPC      string `json:"grpc"`      // host and port
	WebSocket string `json:"websocket"` // URL, HTTP's but for the scheme if it has no listener of its own
	SSE       string `json:"sse"`       // URL, and so is this one
	Admin     string `json:"admin"`     // URL
	Key       string `json:"key,omitempty"`
}

// sockets are the proxy's listeners, each with the name that it goes by
// (LISTEN_FDNAMES, sd_listen_fds(3)).
type sockets struct {
	names []string
	files []*os.File
}

// take passes a listener on.
func (s *sockets) take(l ports.Listener) error {
	file, err := l.Socket.File()
	if err != nil {
		return err
	}
	s.names, s.files = append(s.names, l.Name), append(s.files, file)
	return nil
}

// listenOperator makes the socket that root asks the proxy at: nobody else can open it.
func (s *sockets) listenOperator(path string) error {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	defer listener.Close()
	listener.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	file, err := listener.File()
	if err != nil {
		return err
	}
	s.names, s.files = append(s.names, "operator"), append(s.files, file)
	return nil
}

// environment says which listeners a process inherits.
func (s *sockets) environment() []string {
	return []string{fmt.Sprintf("LISTEN_FDS=%d", len(s.files)), "LISTEN_FDNAMES=" + strings.Join(s.names, ":")}
}

func (s *sockets) close() {
	for _, file := range s.files {
		file.Close()
	}
}

// listenAll makes the listeners of a configuration, where they were the last time if that
// may be, and says where its transports are.
func (s *sockets) listenAll(t *config.Transports, remembered ports.Memory, a *addresses) (ports.Memory, error) {
	rules := portRules(t, remembered)
	listeners, err := rules.Open(wantedListeners(t))
	if err != nil {
		return nil, err
	}
	defer func() { ports.Close(listeners) }()
	rules.First, rules.Last = 0, 0 // the range is for clients
	admin, err := rules.Open([]ports.Wanted{{Name: ports.Admin, Address: netip.AddrFrom4([4]byte{127, 0, 0, 1})}})
	if err != nil {
		return nil, err
	}
	listeners = append(listeners, admin...)
	bound := map[string]string{}
	for _, l := range listeners {
		if err := s.take(l); err != nil {
			return nil, err
		}
		bound[l.Name] = l.Address.String()
	}
	if t.OnHTTP(t.WebSocket.Listener) {
		bound["websocket"] = bound["http"]
	}
	if t.OnHTTP(t.SSE.Listener) {
		bound["sse"] = bound["http"]
	}
	a.HTTP, a.GRPC, a.Admin = url("http", bound["http"], t.HTTP.TLS.PEM), bound["grpc"], url("http", bound[ports.Admin], nil)
	a.WebSocket, a.SSE = url("ws", bound["websocket"], t.HTTP.TLS.PEM), url("http", bound["sse"], t.HTTP.TLS.PEM)
	return ports.Remember(listeners), nil
}

func url(scheme, address string, tls *policy.TLS) string {
	switch {
	case address == "":
		return ""
	case tls != nil:
		return scheme + "s://" + address
	}
	return scheme + "://" + address
}
