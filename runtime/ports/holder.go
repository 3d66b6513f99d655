package ports

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Holder is who holds a port, as far as this process may see.
type Holder struct {
	Wanted  netip.AddrPort
	Bound   netip.AddrPort // what it has; invalid: nobody in this network namespace is seen to hold the port
	User    string
	PID     int    // 0: the process is not seen
	Program string // its name, which it chose itself
	Unit    string // the socket unit that systemd holds it for, if that is known
}

// Systemd reports whether the service manager holds the port, and passes it on.
func (h Holder) Systemd() bool { return h.PID == 1 && h.Program == "systemd" }

// String says who holds what.
func (h Holder) String() string {
	who := ""
	switch {
	case !h.Bound.IsValid():
		return fmt.Sprintf("%s is taken, but nobody here is seen to hold it", h.Wanted)
	case h.Systemd() && h.Unit != "":
		who = "systemd for " + h.Unit
	case h.Systemd():
		who = "systemd for a socket unit (systemctl list-sockets)"
	case h.PID != 0:
		who = fmt.Sprintf("%q (pid %d, user %s)", h.Program, h.PID, h.User)
	case os.Geteuid() != 0:
		who = fmt.Sprintf("a process of user %s (root sees which)", h.User)
	default:
		who = fmt.Sprintf("a process of user %s that can't be seen from here, such as another container's", h.User)
	}
	text := fmt.Sprintf("%s is held by %s", h.Wanted, who)
	if h.Bound != h.Wanted {
		text += fmt.Sprintf(", which has %s", h.Bound)
	}
	return text
}

// FindHolder looks for who keeps address and port from being bound.
func FindHolder(address netip.Addr, port int) Holder {
	h := Holder{Wanted: netip.AddrPortFrom(address, uint16(port))}
	var best row
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		for _, r := range readTable(file) {
			if int(r.local.Port()) == port && collide(r.local.Addr(), address) && r.rank(h.Wanted) > best.rank(h.Wanted) {
				best = r
			}
		}
	}
	if best.inode == 0 {
		return h
	}
	h.Bound, h.User = best.local, userName(best.uid)
	if h.PID = processWith(best.inode); h.PID == 0 {
		return h
	}
	dir := filepath.Join("/proc", strconv.Itoa(h.PID))
	name, _ := os.ReadFile(filepath.Join(dir, "comm")) // it may have ended by now
	h.Program = strings.TrimSuffix(string(name), "\n")
	if info, err := os.Stat(dir); err == nil {
		h.User = userName(info.Sys().(*syscall.Stat_t).Uid) //nolint:forcetypeassert // that is what Linux gives
	}
	return h
}

// collide reports whether two addresses can't have the same port. The IPv6 wildcard is
// taken to mean IPv4, too: the kernel does not say where it does not.
func collide(a, b netip.Addr) bool {
	a, b = a.Unmap().WithZone(""), b.Unmap().WithZone("")
	everything := func(a netip.Addr) bool { return a == netip.IPv6Unspecified() }
	all4 := func(a, b netip.Addr) bool { return a == netip.IPv4Unspecified() && b.Is4() }
	return a == b || everything(a) || everything(b) || all4(a, b) || all4(b, a)
}

// row is a socket of the kernel's table.
type row struct {
	local     netip.AddrPort
	listening bool
	uid       uint32
	inode     uint64 // 0: nobody has it any more
}

// rank orders the sockets that may be in the way of an address: the most likely is highest.
func (r row) rank(wanted netip.AddrPort) int {
	switch {
	case r.inode == 0:
		return 0
	case r.listening && r.local == wanted:
		return 3
	case r.listening:
		return 2
	}
	return 1
}

// readTable reads the sockets of this process's network namespace; none if it can't.
func readTable(path string) (rows []row) {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if r, ok := parseRow(lines.Text()); ok {
			rows = append(rows, r)
		}
	}
	return rows
}

// parseRow reads a line of proc_pid_net(5)'s tcp or tcp6.
func parseRow(line string) (r row, ok bool) {
	const listen = "0A"
	fields := strings.Fields(line)
	if len(fields) < 10 {
		return row{}, false
	}
	local, ok := parseEndpoint(fields[1])
	uid, errUID := strconv.ParseUint(fields[7], 10, 32)
	inode, errInode := strconv.ParseUint(fields[9], 10, 64)
	return row{local, fields[3] == listen, uint32(uid), inode}, ok && errUID == nil && errInode == nil
}

// parseEndpoint reads an address and a port: hexadecimal words as the host stores them.
func parseEndpoint(text string) (netip.AddrPort, bool) {
	words, number, _ := strings.Cut(text, ":")
	bytes, err := hex.DecodeString(words)
	port, errPort := strconv.ParseUint(number, 16, 16)
	if err != nil || errPort != nil || len(bytes)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for word := range slices.Chunk(bytes, 4) {
		binary.NativeEndian.PutUint32(word, binary.BigEndian.Uint32(word))
	}
	address, ok := netip.AddrFromSlice(bytes)
	return netip.AddrPortFrom(address.Unmap(), uint16(port)), ok
}

// processWith finds the process that has a socket: systemd before those that it passed it
// to, else the first. 0: none that can be seen.
func processWith(inode uint64) int {
	link := fmt.Sprintf("socket:[%d]", inode)
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	var pids []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	for _, pid := range pids {
		folder := filepath.Join("/proc", strconv.Itoa(pid), "fd")
		descriptors, _ := os.ReadDir(folder) // of others' processes only root sees them
		for _, d := range descriptors {
			if target, err := os.Readlink(filepath.Join(folder, d.Name())); err == nil && target == link {
				return pid
			}
		}
	}
	return 0
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if known, err := user.LookupId(id); err == nil {
		return known.Username
	}
	return id
}
