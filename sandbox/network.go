package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// NetworkMode is what a sandbox's network is.
type NetworkMode int

// The network modes, from strict to weak.
const (
	NetworkNone   NetworkMode = iota // loopback alone
	NetworkEgress                    // loopback, where the caller answers for every address (Sandbox.Network)
	NetworkHost                      // the host's
)

const (
	dnsPort = 53
	// listenerPort is where the listener of all ports itself is: no program has a
	// use for it (tcpmux, RFC 1078).
	listenerPort = 1
	backlog      = 128
)

// openNetwork does what listenInside does, and has the listener answer for every address.
func (s *Sandbox) openNetwork() (err error) {
	if s.network, err = listenInside(s.spec.Network); err != nil || len(s.network) == 0 {
		return err
	}
	s.lookup, err = answerAll(s.network[len(s.network)-1], s.pid)
	return err
}

// listenInside brings up loopback in the network namespace that this thread is in, unless
// it is the host's. For egress it makes every address local to it, so that each connection ends at one of the sockets which it returns: the
// name server's for UDP and TCP, and a listener for every other address and port.
// No packet can leave: there is no other interface than loopback.
func listenInside(mode NetworkMode) (files []*os.File, err error) {
	if mode == NetworkHost {
		return nil, nil
	}
	if err := raiseLoopback(); err != nil {
		return nil, fmt.Errorf("bring up loopback: %w", err)
	}
	if mode != NetworkEgress {
		return nil, nil
	}
	defer func() {
		if err != nil {
			closeFiles(files)
		}
	}()
	families, err := routeHome()
	if err != nil {
		return nil, err
	}
	loopback := &unix.SockaddrInet4{Port: dnsPort, Addr: [4]byte{127, 0, 0, 1}}
	for _, kind := range []int{unix.SOCK_DGRAM, unix.SOCK_STREAM} {
		if files, err = appendSocket(files, unix.AF_INET, kind, loopback); err != nil {
			return files, err
		}
	}
	if families == 2 {
		files, err = appendSocket(files, unix.AF_INET6, unix.SOCK_STREAM, &unix.SockaddrInet6{Port: listenerPort}) // of IPv4 too (ipv6(7))
	} else {
		files, err = appendSocket(files, unix.AF_INET, unix.SOCK_STREAM, &unix.SockaddrInet4{Port: listenerPort})
	}
	return files, err
}

func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return os.NewSyscallError("ioctl(SIOCSIFFLAGS)", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request))
}

// routeHome makes all addresses local, and says of how many families: a host
// without IPv6 has one.
func routeHome() (families int, err error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return 0, fmt.Errorf("open route socket: %w", err)
	}
	defer handle.Close()
	lo, err := handle.LinkByName("lo")
	if err != nil {
		return 0, fmt.Errorf("find loopback: %w", err)
	}
	// Programs that ask getaddrinfo(3) for what the host has an address of
	// (AI_ADDRCONFIG) do not count loopback's.
	own := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(198, 18, 0, 1), Mask: net.CIDRMask(32, 32)}}
	if err := handle.AddrAdd(lo, own); err != nil {
		return 0, fmt.Errorf("give loopback the address %s: %w", own.IPNet, err)
	}
	for _, every := range []*net.IPNet{
		{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, {IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
	} {
		err := handle.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: every, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST})
		if len(every.IP) == net.IPv6len && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EACCES)) {
			return families, nil
		}
		if err != nil {
			return 0, fmt.Errorf("route %s to loopback: %w", every, err)
		}
		families++
	}
	return families, nil
}

func appendSocket(files []*os.File, family, kind int, address unix.Sockaddr) ([]*os.File, error) {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return files, os.NewSyscallError("socket", err)
	}
	files = append(files, os.NewFile(uintptr(fd), "network"))
	if family == unix.AF_INET6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	}
	if err == nil {
		err = unix.Bind(fd, address)
	}
	if err == nil && kind == unix.SOCK_STREAM {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		return files, fmt.Errorf("listen in the sandbox: %w", err)
	}
	return files, nil
}
