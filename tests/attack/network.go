package main

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// connect NETWORK ADDRESS: worked if the other end says something. With UDP the
// other end speaks when it is spoken to.
func connect(a []string) error {
	conn, err := net.DialTimeout(a[0], a[1], 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if a[0] == "udp" {
		if _, err := conn.Write([]byte("?")); err != nil {
			return err
		}
	}
	_, err = io.ReadAtLeast(conn, make([]byte, 16), 1)
	return err
}

// socket FAMILY TYPE PROTOCOL, as numbers
func socket(a []string) error {
	var n [3]int
	for i := range n {
		var err error
		if n[i], err = strconv.Atoi(a[i]); err != nil {
			return err
		}
	}
	return closing(unix.Socket(n[0], n[1], n[2]))
}

func bindPort(a []string) error {
	port, err := strconv.Atoi(a[0])
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	return unix.Bind(fd, &unix.SockaddrInet4{Port: port})
}

// option sets an option of sockets that needs a capability.
func option(level, name int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	return unix.SetsockoptInt(fd, level, name, 1)
}

const loopback = 1 // its index in every network namespace

// The bodies of requests of rtnetlink(7).

func changeLoopback([]string) error {
	body := make([]byte, unix.SizeofIfInfomsg)
	*(*unix.IfInfomsg)(unsafe.Pointer(&body[0])) = unix.IfInfomsg{Index: loopback, Change: unix.IFF_UP}
	return request(unix.RTM_NEWLINK, 0, body)
}

func addAddress([]string) error {
	body := make([]byte, unix.SizeofIfAddrmsg)
	*(*unix.IfAddrmsg)(unsafe.Pointer(&body[0])) = unix.IfAddrmsg{Family: unix.AF_INET, Prefixlen: 32, Index: loopback}
	return request(unix.RTM_NEWADDR, unix.NLM_F_CREATE, append(body, attribute(unix.IFA_LOCAL, []byte{198, 51, 100, 7})...))
}

func addRoute([]string) error {
	body := make([]byte, unix.SizeofRtMsg)
	*(*unix.RtMsg)(unsafe.Pointer(&body[0])) = unix.RtMsg{
		Family: unix.AF_INET, Dst_len: 32, Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_STATIC,
		Scope: unix.RT_SCOPE_LINK, Type: unix.RTN_UNICAST,
	}
	body = append(body, attribute(unix.RTA_DST, []byte{198, 51, 100, 7})...)
	body = append(body, attribute(unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, loopback))...)
	return request(unix.RTM_NEWROUTE, unix.NLM_F_CREATE, body)
}

// addLink makes a pair of interfaces.
func addLink([]string) error {
	kind := attribute(unix.IFLA_INFO_KIND, []byte("veth"))
	body := append(make([]byte, unix.SizeofIfInfomsg), attribute(unix.IFLA_LINKINFO, kind)...)
	return request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, body)
}

func attribute(kind uint16, content []byte) []byte {
	a := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtAttr+len(content)))
	a = binary.NativeEndian.AppendUint16(a, kind)
	a = append(a, content...)
	return append(a, make([]byte, -len(a)&3)...)
}

// request sends one to the kernel and returns its answer.
func request(kind, flags uint16, body []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	message := make([]byte, unix.SizeofNlMsghdr)
	*(*unix.NlMsghdr)(unsafe.Pointer(&message[0])) = unix.NlMsghdr{
		Len: uint32(len(message) + len(body)), Type: kind, Flags: unix.NLM_F_REQUEST | unix.NLM_F_ACK | flags,
	}
	if err := unix.Sendto(fd, append(message, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, err := unix.Read(fd, answer)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 {
		return errors.New("short answer")
	}
	if code := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
