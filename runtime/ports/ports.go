// Package ports opens the gateway's listeners: those with a port of their own, and those
// that are assigned one, the same as the last time if it may be. A port is free if it can
// be bound, and the socket that was bound is the one that is used. What is taken is named
// with the process that holds it. It stops nobody.
//
// Runs in: CLI.
package ports

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Wanted is a listener that somebody wants.
type Wanted struct {
	Name    string // one of Names
	Address netip.Addr
	Port    int // 0: one is assigned
	Usual   int // the one to be assigned without a range, if it is free; 0: any
}

// Listener is one that is open.
type Listener struct {
	Name     string
	Address  netip.AddrPort
	Assigned bool
	Socket   *net.TCPListener // nil if the gateway has it already (Rules.Own)
}

// Rules say which ports may be assigned.
type Rules struct {
	First, Last int                 // of the range; zero: any port
	Reserved    func(int) bool      // those that nobody is assigned
	Remembered  Memory              // what was open the last time
	Absent      bool                // bind addresses that the host does not have yet, too
	Own         func(Holder) bool   // whether who holds the port of a listener is the gateway itself; nil: never
	Named       func(Holder) Holder // finds out more of a holder, for people; nil: what the kernel says
}

// Open opens all listeners that are wanted, or none, and gives them by name.
func (r Rules) Open(wanted []Wanted) ([]Listener, error) {
	o := opening{Rules: r, claimed: make(map[int]bool), kernel: kernelReserved()}
	wanted = slices.SortedFunc(slices.Values(wanted), func(a, b Wanted) int { return cmp.Compare(a.Name, b.Name) })
	for _, w := range wanted {
		if w.Port != 0 {
			o.claimed[w.Port] = true
		}
	}
	var errs []error
	// Nobody may be assigned what another one has already.
	for _, open := range []func(Wanted) (bool, error){o.fixed, o.remembered, o.assign} {
		wanted = slices.DeleteFunc(wanted, func(w Wanted) bool {
			done, err := open(w)
			if err != nil {
				errs = append(errs, fmt.Errorf("open %s: %w", label(w.Name), err))
			}
			return done || err != nil
		})
	}
	if len(errs) > 0 {
		Close(o.open)
		return nil, errors.Join(errs...)
	}
	slices.SortFunc(o.open, func(a, b Listener) int { return cmp.Compare(a.Name, b.Name) })
	return o.open, nil
}

// label is a listener as people know it.
func label(name string) string {
	if name == Admin {
		return "the admin listener"
	}
	return "transports." + name
}

// Close closes listeners that are not needed any more.
func Close(listeners []Listener) {
	for _, l := range listeners {
		if l.Socket != nil {
			_ = l.Socket.Close() // nobody was served
		}
	}
}

// opening is what is open so far.
type opening struct {
	Rules
	open    []Listener
	claimed map[int]bool // ports of listeners
	kernel  []span       // that the kernel assigns nobody
}

// bind opens one listener.
func (o *opening) bind(w Wanted, port int) error {
	address := netip.AddrPortFrom(w.Address, uint16(port))
	network := "tcp"
	if w.Address.Is4() {
		network = "tcp4" // or 0.0.0.0 would be every IPv6 address, too
	}
	config := net.ListenConfig{}
	if o.Absent {
		config.Control = func(_, _ string, c syscall.RawConn) error {
			var err error
			return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1) }), err)
		}
	}
	listener, err := config.Listen(context.Background(), network, address.String())
	if err != nil {
		return err
	}
	socket := listener.(*net.TCPListener) //nolint:forcetypeassert // that is what TCP gives
	bound := socket.Addr().(*net.TCPAddr) //nolint:forcetypeassert // and this
	o.add(w, bound.Port, socket)
	return nil
}

func (o *opening) add(w Wanted, port int, socket *net.TCPListener) {
	o.claimed[port] = true
	o.open = append(o.open, Listener{w.Name, netip.AddrPortFrom(w.Address, uint16(port)), w.Port == 0, socket})
}

// fixed opens a listener that has a port of its own.
func (o *opening) fixed(w Wanted) (bool, error) {
	if w.Port == 0 {
		return false, nil
	}
	err := o.bind(w, w.Port)
	switch {
	case !errors.Is(err, unix.EADDRINUSE):
	case o.Own != nil && o.Own(FindHolder(w.Address, w.Port)):
		o.add(w, w.Port, nil)
		err = nil
	default:
		err = fmt.Errorf("%s: stop it, or name another port, or port 0 with a port_range", o.held(w, w.Port))
	}
	return true, err
}

// remembered opens a listener where it was the last time, if it may be there.
func (o *opening) remembered(w Wanted) (bool, error) {
	port := o.Remembered[w.Name].Port
	if port == 0 || o.First > 0 && (port < o.First || o.Last < port) || !o.may(port) {
		return false, nil
	}
	err := o.bind(w, port)
	switch {
	case err == nil:
		return true, nil
	case !errors.Is(err, unix.EADDRINUSE):
		return false, err
	case o.Own != nil && o.Own(FindHolder(w.Address, port)):
		o.add(w, port, nil)
		return true, nil
	}
	return false, nil
}

// may reports whether a port can be assigned, if it is free.
func (o *opening) may(port int) bool {
	return !o.claimed[port] && !o.reserved(port)
}

func (o *opening) reserved(port int) bool {
	return o.Reserved != nil && o.Reserved(port) || slices.ContainsFunc(o.kernel, func(s span) bool { return s.first <= port && port <= s.last })
}

// assign opens a listener at a port that is free.
func (o *opening) assign(w Wanted) (bool, error) {
	if o.First == 0 {
		return true, o.assignAny(w)
	}
	var taken []int
	for port := o.First; port <= o.Last; port++ {
		if !o.may(port) {
			continue
		}
		err := o.bind(w, port)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return true, err
		}
		taken = append(taken, port)
	}
	return true, o.full(w, taken)
}

// maxNamed is how many holders an error names.
const maxNamed = 3

// full says why a range has no port left.
func (o *opening) full(w Wanted, taken []int) error {
	var why []string
	for i, port := range taken {
		if i == maxNamed {
			why = append(why, fmt.Sprintf("%d more are taken", len(taken)-i))
			break
		}
		why = append(why, o.held(w, port))
	}
	reserved, own := 0, 0
	for port := o.First; port <= o.Last; port++ {
		switch {
		case o.reserved(port):
			reserved++
		case o.claimed[port]:
			own++
		}
	}
	if reserved > 0 {
		why = append(why, fmt.Sprintf("%d are reserved, by reserved_ports or net.ipv4.ip_local_reserved_ports", reserved))
	}
	if own > 0 {
		why = append(why, fmt.Sprintf("%d are other transports'", own))
	}
	return fmt.Errorf("no port of port_range %d-%d is free: %s: widen it, or stop one of them", o.First, o.Last, strings.Join(why, "; "))
}

// maxTries bounds how often the kernel is asked for another port.
const maxTries = 200

// assignAny opens a listener at its usual port or at any that the kernel gives.
func (o *opening) assignAny(w Wanted) error {
	if w.Usual != 0 && o.may(w.Usual) {
		if err := o.bind(w, w.Usual); !errors.Is(err, unix.EADDRINUSE) {
			return err
		}
	}
	var refused []Listener // held, so that the kernel does not give them again
	defer func() { Close(refused) }()
	for range maxTries {
		if err := o.bind(w, 0); err != nil {
			return err
		}
		last := o.open[len(o.open)-1]
		port := int(last.Address.Port())
		if !o.reserved(port) && !slices.ContainsFunc(o.open[:len(o.open)-1], func(l Listener) bool { return int(l.Address.Port()) == port }) {
			return nil
		}
		o.open = o.open[:len(o.open)-1]
		refused = append(refused, last)
	}
	return errors.New("every port that the kernel gives is reserved: give transports a port_range")
}

// held says who holds a port that can't be had.
func (o *opening) held(w Wanted, port int) string {
	h := FindHolder(w.Address, port)
	if o.Named != nil {
		h = o.Named(h)
	}
	return h.String()
}

// span is ports from first to last.
type span struct{ first, last int }

// kernelReserved are the ports that the administrator told the kernel to give nobody.
func kernelReserved() []span {
	content, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_reserved_ports")
	if err != nil {
		return nil // without /proc nothing is known of that
	}
	return parseSpans(strings.TrimSpace(string(content)))
}

// parseSpans reads "8080,9000-9100".
func parseSpans(text string) (spans []span) {
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		low, err := strconv.Atoi(first)
		high, errLast := strconv.Atoi(last)
		if err == nil && errLast == nil {
			spans = append(spans, span{low, high})
		}
	}
	return spans
}
