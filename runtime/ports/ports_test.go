package ports

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// hold is the variable that makes this program listen at the addresses in it, as another
// process does.
const hold = "PORTS_TEST_HOLD"

func TestMain(m *testing.M) {
	if addresses := os.Getenv(hold); addresses != "" {
		for address := range strings.FieldsSeq(addresses) {
			network := "tcp"
			if !strings.HasPrefix(address, "[") {
				network = "tcp4"
			}
			if _, err := net.Listen(network, address); err != nil {
				fmt.Fprintln(os.Stdout, err)
				os.Exit(1)
			}
		}
		fmt.Fprintln(os.Stdout, "holding")
		bufio.NewScanner(os.Stdin).Scan() // until it is closed
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// holder starts a process that listens at these addresses until the test ends. If root
// starts it, it is nobody's.
func holder(t *testing.T, addresses ...string) (pid int, account string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{hold + "=" + strings.Join(addresses, " ")}
	cmd.Stderr = os.Stderr
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	account = me.Username
	if os.Geteuid() == 0 {
		account = "nobody"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	if lines := bufio.NewScanner(out); !lines.Scan() || lines.Text() != "holding" {
		t.Fatalf("the holder says %q", lines.Text())
	}
	return cmd.Process.Pid, account
}

var addresses atomic.Uint32

// loopback is an address that no other test uses.
func loopback() netip.Addr {
	n := addresses.Add(1)
	return netip.AddrFrom4([4]byte{127, 71, byte(os.Getpid()), byte(n)})
}

func at(a netip.Addr, port int) string { return netip.AddrPortFrom(a, uint16(port)).String() }

func except(reserved ...int) func(int) bool {
	return func(port int) bool { return slices.Contains(reserved, port) }
}

// opened gives the ports of listeners as "name:port", with "!" for those that were assigned.
func opened(listeners []Listener) string {
	var all []string
	for _, l := range listeners {
		text := fmt.Sprintf("%s:%d", l.Name, l.Address.Port())
		if l.Assigned {
			text += "!"
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

func TestOpen(t *testing.T) {
	t.Parallel()
	remembered := func(places ...any) Memory {
		m := Memory{}
		for i := 0; i < len(places); i += 2 {
			m[places[i].(string)] = Place{Address: netip.IPv4Unspecified(), Port: places[i+1].(int)}
		}
		return m
	}
	for _, tt := range []struct {
		name   string
		rules  Rules
		wanted map[string]int
		held   []int // by another process
		want   string
	}{
		{"ports of their own", Rules{}, map[string]int{"http": 2100, "grpc": 2101}, nil, "grpc:2101 http:2100"},
		{"the lowest of the range", Rules{First: 2100, Last: 2109}, map[string]int{"http": 0, "grpc": 0}, nil, "grpc:2100! http:2101!"},
		{"but for reserved ones", Rules{First: 2100, Last: 2109, Reserved: except(2100, 2102)}, map[string]int{"http": 0, "grpc": 0}, nil, "grpc:2101! http:2103!"},
		{"its own may be reserved", Rules{First: 2100, Last: 2109, Reserved: except(2100)}, map[string]int{"http": 2100}, nil, "http:2100"},
		{"but for others'", Rules{First: 2100, Last: 2109}, map[string]int{"http": 2100, "grpc": 0}, nil, "grpc:2101! http:2100"},
		{"but for taken ones", Rules{First: 2100, Last: 2109}, map[string]int{"http": 0}, []int{2100, 2101}, "http:2102!"},
		{"as the last time", Rules{First: 2100, Last: 2109, Remembered: remembered("http", 2107)}, map[string]int{"http": 0, "grpc": 0}, nil, "grpc:2100! http:2107!"},
		{"before others choose", Rules{First: 2100, Last: 2109, Remembered: remembered("http", 2100)}, map[string]int{"http": 0, "grpc": 0}, nil, "grpc:2101! http:2100!"},
		{"below the range", Rules{First: 2100, Last: 2109, Remembered: remembered("http", 2099)}, map[string]int{"http": 0}, nil, "http:2100!"},
		{"above the range", Rules{First: 2100, Last: 2109, Remembered: remembered("http", 2110)}, map[string]int{"http": 0}, nil, "http:2100!"},
		{"reserved since", Rules{First: 2100, Last: 2109, Reserved: except(2107), Remembered: remembered("http", 2107)}, map[string]int{"http": 0}, nil, "http:2100!"},
		{"another's since", Rules{First: 2100, Last: 2109, Remembered: remembered("http", 2107)}, map[string]int{"http": 0, "grpc": 2107}, nil, "grpc:2107 http:2100!"},
		{"taken since", Rules{First: 2100, Last: 2109, Remembered: remembered("http", 2107)}, map[string]int{"http": 0}, []int{2107}, "http:2100!"},
		{"two remember the same", Rules{First: 2100, Last: 2109, Remembered: remembered("http", 2107, "grpc", 2107)}, map[string]int{"http": 0, "grpc": 0}, nil, "grpc:2107! http:2100!"},
		{"remembered without a range", Rules{Remembered: remembered("http", 2107)}, map[string]int{"http": 0}, nil, "http:2107!"},
		{"not for who has a port", Rules{Remembered: remembered("http", 2107)}, map[string]int{"http": 2108}, nil, "http:2108"},
		{"none wanted", Rules{First: 2100, Last: 2109}, nil, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			address := loopback()
			for _, port := range tt.held {
				holder(t, at(address, port))
			}
			var wanted []Wanted
			for name, port := range tt.wanted {
				wanted = append(wanted, Wanted{Name: name, Address: address, Port: port})
			}
			got, err := tt.rules.Open(wanted)
			if err != nil {
				t.Fatal(err)
			}
			defer Close(got)
			if opened(got) != tt.want {
				t.Errorf("got %s, want %s", opened(got), tt.want)
			}
			for _, l := range got { // the socket is the one
				conn, err := net.Dial("tcp", l.Address.String())
				if err != nil {
					t.Errorf("%s: %v", l.Name, err)
					continue
				}
				conn.Close()
			}
		})
	}
}

// Without a range the usual port comes first, and then what the kernel gives.
func TestOpenAny(t *testing.T) {
	t.Parallel()
	address := loopback()
	wanted := []Wanted{{Name: "http", Address: address, Usual: 2180}}
	usual, err := Rules{}.Open(wanted)
	if err != nil {
		t.Fatal(err)
	}
	defer Close(usual)
	if got := opened(usual); got != "http:2180!" {
		t.Errorf("got %s, want the usual one", got)
	}
	another, err := Rules{}.Open(wanted)
	if err != nil {
		t.Fatal(err)
	}
	defer Close(another)
	if got := opened(another); got == "http:2180!" || got == "http:0!" {
		t.Errorf("got %s, want any other", got)
	}
	odd := Rules{Reserved: func(port int) bool { return port%2 == 0 }}
	for range 50 {
		got, err := odd.Open([]Wanted{{Name: "http", Address: loopback(), Usual: 2180}, {Name: "grpc", Address: address}})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range got {
			if l.Address.Port()%2 == 0 {
				t.Fatalf("got %s, want ports that are not reserved", opened(got))
			}
		}
		Close(got)
	}
	if _, err := (Rules{Reserved: func(int) bool { return true }}).Open(wanted); err == nil || !strings.Contains(err.Error(), "every port") {
		t.Errorf("all reserved: got %v", err)
	}
}

// What is taken is named with its process, and nothing stays open.
func TestTaken(t *testing.T) {
	t.Parallel()
	address := loopback()
	pid, account := holder(t, at(address, 2100), at(address, 2101), at(address, 2102), at(address, 2103), at(address, 2105))
	process := fmt.Sprintf(`"exe" (pid %d, user %s)`, pid, account)
	rules := Rules{First: 2100, Last: 2106, Reserved: except(2106)}
	_, err := rules.Open([]Wanted{
		{Name: "sse", Address: address, Port: 2104},
		{Name: "grpc", Address: address, Port: 2100},
		{Name: "http", Address: address},
	})
	want := fmt.Sprintf(`open transports.grpc: %[1]s:2100 is held by %[2]s: stop it, or name another port, or port 0 with a port_range
open transports.http: no port of port_range 2100-2106 is free: %[1]s:2101 is held by %[2]s; %[1]s:2102 is held by %[2]s; %[1]s:2103 is held by %[2]s; 1 more are taken; `+
		`1 are reserved, by reserved_ports or net.ipv4.ip_local_reserved_ports; 2 are other transports': widen it, or stop one of them`, address, process)
	if fmt.Sprint(err) != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	again, err := Rules{}.Open([]Wanted{{Name: "sse", Address: address, Port: 2104}})
	if err != nil {
		t.Errorf("what could be opened was not closed: %v", err)
	}
	Close(again)
	if _, err := (Rules{First: 2100, Last: 2109}).Open([]Wanted{{Name: "http", Address: netip.MustParseAddr("192.0.2.1")}}); err == nil || !strings.Contains(err.Error(), "cannot assign requested address") {
		t.Errorf("an address of another host: got %v", err)
	}
	absent, err := Rules{First: 2100, Last: 2109, Absent: true}.Open([]Wanted{{Name: "http", Address: netip.MustParseAddr("192.0.2.1")}})
	if err != nil || opened(absent) != "http:2100!" {
		t.Errorf("an address that is still to come: got %s and %v", opened(absent), err)
	}
	Close(absent)
}

// A remembered port that the gateway itself holds stays its own.
func TestOwn(t *testing.T) {
	t.Parallel()
	address := loopback()
	pid, _ := holder(t, at(address, 2107))
	rules := Rules{First: 2100, Last: 2109, Remembered: Memory{"http": {address, 2107, true}}}
	for _, tt := range []struct {
		own  int
		want string
	}{{pid, "http:2107!"}, {pid + 1, "http:2100!"}} {
		rules.Own = func(h Holder) bool { return h.PID == tt.own }
		got, err := rules.Open([]Wanted{{Name: "http", Address: address}})
		if err != nil || opened(got) != tt.want {
			t.Errorf("got %s and %v, want %s", opened(got), err, tt.want)
		}
		Close(got)
	}
}

// Wildcards take specific addresses, and IPv6's takes IPv4's; other addresses don't matter.
func TestWildcards(t *testing.T) {
	t.Parallel()
	if l, err := net.Listen("tcp6", "[::1]:0"); err != nil {
		t.Fatalf("this host has no IPv6: %v", err)
	} else {
		l.Close()
	}
	free := func() int {
		l, err := net.Listen("tcp", "[::]:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().(*net.TCPAddr).Port
	}
	for _, tt := range []struct{ held, wanted, has string }{
		{"0.0.0.0", "127.0.0.1", ", which has 0.0.0.0"},
		{"[::]", "127.0.0.1", ", which has [::]"},
		{"[::]", "::1", ", which has [::]"},
		{"127.0.0.1", "0.0.0.0", ", which has 127.0.0.1"},
		{"127.0.0.1", "::", ", which has 127.0.0.1"},
		{"[::1]", "::", ", which has [::1]"},
		{"[::1]", "::1", ""},
		{"[::1]", "127.0.0.1", "free"},
		{"127.0.0.1", "127.0.0.2", "free"},
		{"127.0.0.1", "::1", "free"},
		{"[::1]", "0.0.0.0", "free"},
	} {
		t.Run(tt.held+" for "+tt.wanted, func(t *testing.T) {
			port := free()
			pid, account := holder(t, fmt.Sprintf("%s:%d", tt.held, port))
			address := netip.MustParseAddr(tt.wanted)
			got, err := Rules{}.Open([]Wanted{{Name: "http", Address: address, Port: port}})
			Close(got)
			want := "<nil>"
			if tt.has != "free" {
				has := ""
				if tt.has != "" {
					has = fmt.Sprintf("%s:%d", tt.has, port)
				}
				want = fmt.Sprintf(`open transports.http: %s is held by "exe" (pid %d, user %s)%s: stop it, or name another port, or port 0 with a port_range`,
					at(address, port), pid, account, has)
			}
			if fmt.Sprint(err) != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func TestHolderIsNamed(t *testing.T) {
	t.Parallel()
	place := netip.MustParseAddrPort("127.0.0.1:8080")
	unseen := "a process of user ada that can't be seen from here, such as another container's"
	if os.Geteuid() != 0 {
		unseen = "a process of user ada (root sees which)"
	}
	for want, h := range map[string]Holder{
		"127.0.0.1:8080 is taken, but nobody here is seen to hold it":                  FindHolder(loopback(), 8080),
		`127.0.0.1:8080 is held by "nginx" (pid 812, user www-data)`:                   {place, place, "www-data", 812, "nginx", ""},
		`127.0.0.1:8080 is held by "a\nb\x1b" (pid 812, user www-data)`:                {place, place, "www-data", 812, "a\nb\x1b", ""},
		"127.0.0.1:8080 is held by systemd for a.socket":                               {place, place, "root", 1, "systemd", "a.socket"},
		"127.0.0.1:8080 is held by systemd for a socket unit (systemctl list-sockets)": {place, place, "root", 1, "systemd", ""},
		`127.0.0.1:8080 is held by "sh" (pid 1, user root)`:                            {place, place, "root", 1, "sh", ""},
		"127.0.0.1:8080 is held by " + unseen:                                          {place, place, "ada", 0, "", ""},
		"127.0.0.1:8080 is held by " + unseen + ", which has 0.0.0.0:8080":             {place, netip.MustParseAddrPort("0.0.0.0:8080"), "ada", 0, "", ""},
	} {
		h.Wanted = place
		if got := h.String(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// A holder in another network namespace is not seen, nor is it in the way.
func TestNobodyHolds(t *testing.T) {
	t.Parallel()
	h := FindHolder(loopback(), 2100)
	if h.Bound.IsValid() || h.PID != 0 {
		t.Errorf("got %+v for a port that nobody has", h)
	}
}

func TestParseRow(t *testing.T) {
	t.Parallel()
	const rest = " 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 4242 1 0000000000000000 100 0 0 10 0"
	for line, want := range map[string]string{
		"   0: 0100007F:1F90" + rest:                                                                       "127.0.0.1:8080 101 4242",
		"   0: 00000000000000000000000000000000:1F90" + rest:                                               "[::]:8080 101 4242",
		"   0: 00000000000000000000000001000000:1F90" + rest:                                               "[::1]:8080 101 4242",
		"   0: 0000000000000000FFFF00000100007F:1F90" + rest:                                               "127.0.0.1:8080 101 4242",
		"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode": "",
		"   0: 01007F:1F90" + rest:                                                                         "",
		"   0: 0100007F:11F90" + rest:                                                                      "",
		"   0: 0100007F1F90" + rest:                                                                        "",
		"   0: 0100007F:1F90 00000000:0000 0A":                                                             "",
		"":                                                                                                 "",
	} {
		got := ""
		if r, ok := parseRow(line); ok {
			got = fmt.Sprintf("%s %d %d", r.local, r.uid, r.inode)
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
}

func TestParseSpans(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]span{"": nil, "8080": {{8080, 8080}}, "8080,9000-9100": {{8080, 8080}, {9000, 9100}}, "x,1-y,7": {{7, 7}}} {
		if got := parseSpans(text); !slices.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
	o := opening{kernel: []span{{9000, 9100}}}
	if o.may(9000) || o.may(9100) || !o.may(9101) {
		t.Error("what the kernel gives nobody may be assigned")
	}
}

func TestMemory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(content string, mode os.FileMode) string {
		path := dir + "/" + strings.ReplaceAll(t.Name(), "/", "-") + fmt.Sprint(addresses.Add(1))
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	listeners := []Listener{
		{"http", netip.MustParseAddrPort("127.0.0.1:8107"), true, nil},
		{"grpc", netip.MustParseAddrPort("[::]:8443"), false, nil},
	}
	content, err := Remember(listeners).Encode()
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
  "version": 1,
  "ports": {
    "grpc": {
      "address": "::",
      "port": 8443
    },
    "http": {
      "address": "127.0.0.1",
      "port": 8107,
      "assigned": true
    }
  }
}
`
	if string(content) != want {
		t.Errorf("got %s, want %s", content, want)
	}
	if m, err := Load(write(want, 0o644)); err != nil || !maps.Equal(m, Remember(listeners)) {
		t.Errorf("got %v and %v", m, err)
	}
	if m, err := Load(dir + "/none"); err != nil || len(m) != 0 {
		t.Errorf("no file: got %v and %v", m, err)
	}
	if _, err := Load(write(want, 0o666)); err == nil || !strings.Contains(err.Error(), "can be written by") {
		t.Errorf("a file that others may write: got %v", err)
	}
	for content, want := range map[string]string{
		``:                                  "EOF",
		`{"version":2,"ports":{}}`:          "version is 2, want 1",
		`{"version":1,"ports":{},"more":1}`: "unknown field",
		`{"version":1,"ports":{}} {}`:       "more behind its end",
		`{"version":1,"ports":{"ftp":{"address":"127.0.0.1","port":8107}}}`:                         `"ftp" is no listener`,
		`{"version":1,"ports":{"http":{"address":"127.0.0.1","port":0}}}`:                           "http has no address of its own",
		`{"version":1,"ports":{"http":{"address":"127.0.0.1","port":65536}}}`:                       "http has no address of its own",
		`{"version":1,"ports":{"http":{"address":"localhost","port":8107}}}`:                        "unable to parse IP",
		`{"version":1,"ports":{"http":{"port":8107}}}`:                                              "http has no address of its own",
		`{"version":1,"ports":{"http":{"address":"::","port":1},"grpc":{"address":"::","port":1}}}`: "has no address of its own",
	} {
		if m, err := Load(write(content, 0o644)); err == nil || !strings.Contains(err.Error(), want) || m != nil {
			t.Errorf("%s: got %v and %v, want %s", content, m, err, want)
		}
	}
	if os.Geteuid() == 0 {
		foreign := write(want, 0o644)
		if err := os.Chown(foreign, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(foreign); err == nil {
			t.Error("a file of another user was believed")
		}
	}
}
