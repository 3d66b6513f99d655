package inspect

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// checkNetwork looks at what the network namespace has that leads out. Where a
// profile allows some names, they are reached by sockets that the proxy holds
// inside, so there is no more than the loopback either.
func (a *audit) checkNetwork() {
	const section = "network"
	if a.Profile.Network.Mode == "host" {
		daemon, err := os.Readlink(filepath.Join(a.proc, a.first.parent(), "ns/net"))
		a.expect(fact{section, "namespace", daemon, "ns/net", 1}, a.first.namespaces["net"], err)
		return
	}
	for _, t := range []struct {
		name, want, file string
		rows             func(string) []string
	}{
		{"interfaces", "lo", "net/dev", interfaces},
		{"routes to elsewhere", "none", "net/route", routes},
		{"packet sockets", "none", "net/packet", rows},
		{"raw sockets", "none", "net/raw", rows},
		{"raw sockets of IPv6", "none", "net/raw6", rows},
		{"netlink sockets but of routes", "none", "net/netlink", netlinks},
	} {
		content, err := os.ReadFile(a.path(a.PID, t.file))
		if vanished(err) && t.file == "net/raw6" {
			continue // a kernel without IPv6
		}
		a.expect(fact{section, t.name, t.want, t.file, 4}, orNone(strings.Join(t.rows(string(content)), ", ")), err)
	}
}

// fallback are tunnels that some kernels put into every new network namespace.
// They are down, and only CAP_NET_ADMIN could change that.
var fallback = []string{"erspan0", "gre0", "gretap0", "ip6_vti0", "ip6gre0", "ip6tnl0", "ip_vti0", "sit0", "tunl0"}

// interfaces are the names in /proc/PID/net/dev, below its two lines of heading,
// but for fallback tunnels that have carried nothing.
func interfaces(text string) []string {
	var names []string
	for line := range strings.Lines(text) {
		name, counters, ok := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		idle := strings.Trim(counters, " 0\n") == ""
		if ok && (!idle || !slices.Contains(fallback, name)) {
			names = append(names, name)
		}
	}
	return names
}

// rows are the lines of a table below its heading, each by its first words.
func rows(text string) []string {
	var found []string
	for i, line := range slices.Collect(strings.Lines(text)) {
		if fields := strings.Fields(line); i > 0 && len(fields) > 0 {
			found = append(found, strings.Join(fields[:min(len(fields), 3)], " "))
		}
	}
	return found
}

// routes are those that lead to another interface than the loopback.
func routes(text string) []string {
	return slices.DeleteFunc(rows(text), func(row string) bool { return strings.HasPrefix(row, "lo ") })
}

// netlinks are the netlink sockets of processes, but those that ask for routes:
// address, protocol, port of the sender. The kernel's own have port 0.
func netlinks(text string) []string {
	return slices.DeleteFunc(rows(text), func(row string) bool {
		fields := strings.Fields(row)
		return len(fields) < 3 || fields[1] == "0" || fields[2] == "0"
	})
}

// checkEnvironment compares the names of the variables that the server was given:
// the first process still holds them. What a server does to its own environment is
// its matter. The first process, a Go program, must not be steered by any.
func (a *audit) checkEnvironment() {
	got, err := a.variables("fd/" + environmentFD)
	want := slices.Sorted(slices.Values(a.Environment))
	slices.Sort(got)
	var surplus, missing []string
	for _, name := range got {
		if !slices.Contains(want, name) {
			surplus = append(surplus, strconv.Quote(name))
		}
	}
	for _, name := range want {
		if !slices.Contains(got, name) {
			missing = append(missing, name)
		}
	}
	const section, where = "environment", "fd/" + environmentFD
	a.expect(fact{section, "surplus variables", "none", where, 2}, orNone(strings.Join(surplus, ", ")), err)
	a.expect(fact{section, "missing variables", "none", where, 1}, orNone(strings.Join(missing, ", ")), err)
	own, err := a.variables("environ")
	f := fact{section, "of the first process", "HOME at most", "environ", 1}
	a.judge(f, orNone(strings.Join(own, ", ")), len(own) == 0 || slices.Equal(own, []string{"HOME"}), err)
}

// variables are the names in an environment of the first process's.
func (a *audit) variables(where string) (names []string, err error) {
	content, err := os.ReadFile(a.path(a.PID, where))
	for variable := range strings.SplitSeq(string(content), "\x00") {
		if name, _, ok := strings.Cut(variable, "="); ok {
			names = append(names, name)
		}
	}
	return names, err
}
