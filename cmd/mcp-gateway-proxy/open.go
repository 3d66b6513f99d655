package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// checkTCP takes what open can listen on. A host's name is none: it may have many
// addresses, and other ones tomorrow.
func checkTCP(address string) error {
	if strings.HasPrefix(address, ":") {
		address = "[::]" + address
	}
	if _, err := netip.ParseAddrPort(address); err != nil {
		return errors.New("the address must be IP:PORT, such as 127.0.0.1:8080 or [::1]:8080, or :8080 for all addresses")
	}
	return nil
}

func checkPath(path string) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return errors.New("the operator's address must be an absolute path, such as /run/mcp-gateway-proxy/operator.sock")
	}
	return nil
}

// open adds listeners on the addresses to those that were passed.
func (a addresses) open(passed map[string][]net.Listener) error {
	for name, list := range a {
		if len(passed[name]) > 0 {
			return fmt.Errorf("a listener named %q was passed, and -listen names one as well: use the socket units or -listen, not both", name)
		}
		for _, address := range list {
			open := openTCP
			if name == "operator" {
				open = openUnix
			}
			listener, err := open(address)
			if err != nil {
				return fmt.Errorf("-listen %s=%s: %w", name, address, err)
			}
			passed[name] = append(passed[name], listener)
		}
	}
	return nil
}

func openTCP(address string) (net.Listener, error) {
	network := "tcp"
	if parsed, err := netip.ParseAddrPort(address); err == nil && parsed.Addr().Is4() {
		network = "tcp4" // or 0.0.0.0 would be every IPv6 address, too
	}
	listener, err := net.Listen(network, address)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return nil, fmt.Errorf("%w: name another port, or stop what listens there (ss -ltnp shows it)", unix.EADDRINUSE)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%w: no interface has this address: name one that has, or :PORT for all", unix.EADDRNOTAVAIL)
	case errors.Is(err, unix.EACCES):
		return nil, fmt.Errorf("%w: the proxy has no privilege: name a port from 1024 on", unix.EACCES)
	}
	return listener, err
}

// openUnix makes a socket that only root and the proxy's user can connect to. One that
// a proxy that was killed has left is replaced.
func openUnix(path string) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	defer unix.Umask(unix.Umask(0o177)) // nothing else makes files yet
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EROFS) {
		return nil, fmt.Errorf("%w: give the proxy's user a folder of its own, such as %s", err, filepath.Dir(path))
	}
	if err != nil {
		return nil, err
	}
	return listener, nil
}

// removeStale removes a socket that nobody listens on.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("something is there that is no socket: remove it, or name another path")
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return errors.New("somebody listens there: stop the other proxy, or name another path")
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("is it in use? %w", err)
	}
	return os.Remove(path)
}
