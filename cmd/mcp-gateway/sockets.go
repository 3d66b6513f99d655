package main

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"mcpgateway/policy"
	"mcpgateway/runtime/config"
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

// listen makes a listener and returns its address.
func (s *sockets) listen(name, address string, port int) (string, error) {
	network := "tcp"
	if ip, err := netip.ParseAddr(address); err == nil && ip.Is4() {
		network = "tcp4" // or 0.0.0.0 would be every IPv6 address, too
	}
	listener, err := net.Listen(network, net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		return "", err
	}
	defer listener.Close()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		return "", err
	}
	s.names, s.files = append(s.names, name), append(s.files, file)
	return listener.Addr().String(), nil
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

// listenAll makes the listeners of a configuration, and says where its transports are.
func (s *sockets) listenAll(t *config.Transports, a *addresses) error {
	listeners, bound := t.Listeners(), map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(listeners)) {
		address, err := s.listen(name, listeners[name].Address, listeners[name].Port)
		if err != nil {
			return fmt.Errorf("open transports.%s: %w: name another port, or 0 for any free one", name, err)
		}
		bound[name] = address
	}
	admin, err := s.listen("admin", "127.0.0.1", 0)
	if err != nil {
		return fmt.Errorf("open the admin listener: %w", err)
	}
	if t.OnHTTP(t.WebSocket.Listener) {
		bound["websocket"] = bound["http"]
	}
	if t.OnHTTP(t.SSE.Listener) {
		bound["sse"] = bound["http"]
	}
	a.HTTP, a.GRPC, a.Admin = url("http", bound["http"], t.HTTP.TLS.PEM), bound["grpc"], url("http", admin, nil)
	a.WebSocket, a.SSE = url("ws", bound["websocket"], t.HTTP.TLS.PEM), url("http", bound["sse"], t.HTTP.TLS.PEM)
	return nil
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
