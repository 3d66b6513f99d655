package daemon_test

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tight sets nearly every key of a profile, each to a value that is nobody's
// default.
const tight = `
description = "Everything set"
allow_weaker = true

[filesystem]
mounts = [{source = "FOLDER/ro", target = "/srv/ro", noexec = true}, {source = "FOLDER/rw", target = "/srv/rw", access = "rw"}]
tmpfs = [{target = "/var/cache", size = "1M"}]
tmp_size = "2M"
shm_size = "1M"
hidden = ["/usr/share"]

[syscalls]
minus = ["mkdir", "mkdirat"]
plus = ["unshare"]

[namespaces]
ids = 8192

[limits]
memory_max = "100M"
cpu_max = 0.5
cpu_weight = 50
pids_max = 33

[rlimits]
nofile = 77
memlock = "32K"
fsize = "3M"
stack = "4M"

[environment]
pass = ["MCP_GATEWAY_TEST"]

[time]
run = "1h"
cpu = "100s"

[landlock]
mode = "available"
read = ["/usr", "/etc", "/srv/ro"]
`

// facts prints what the kernel says of the sandbox, a line each.
const facts = `
import os, resource, ctypes
def said(do):
    try: return do()
    except OSError as e: return os.strerror(e.errno)
def size(path):
    s = os.statvfs(path)
    return s.f_blocks * s.f_frsize
libc = ctypes.CDLL(None, use_errno=True)
print("noexec", bool(os.statvfs("/srv/ro").f_flag & os.ST_NOEXEC))
print("read", said(lambda: open("/srv/ro/file").read().strip()))
print("write", said(lambda: open("/srv/ro/new", "w").name))
print("rw", said(lambda: open("/srv/rw/new", "w").name))
print("tmpfs", size("/var/cache"))
print("tmp", size("/tmp"))
print("shm", size("/dev/shm"))
print("hidden", os.listdir("/usr/share"))
print("mkdir", said(lambda: os.mkdir("/tmp/d")))
print("ids", open("/proc/self/uid_map").read().split()[2])
print("unshare", libc.unshare(0x10000000)) # CLONE_NEWUSER
for name in "NOFILE", "MEMLOCK", "FSIZE", "STACK", "CPU", "CORE", "MSGQUEUE":
    print(name, resource.getrlimit(getattr(resource, "RLIMIT_" + name))[1])
print("env", os.environ.get("MCP_GATEWAY_TEST"), "MCP_GATEWAY_OTHER" in os.environ)
print("landlock", said(lambda: os.listdir("/srv")))
`

const told = `noexec True
read text
write Read-only file system
rw /srv/rw/new
tmpfs 1048576
tmp 2097152
shm 1048576
hidden []
mkdir Operation not permitted
ids 8192
unshare 0
NOFILE 77
MEMLOCK 32768
FSIZE 3145728
STACK 4194304
CPU 100
CORE 0
MSGQUEUE 0
env passed False
landlock Permission denied
`

// TestProfile: every key of a profile reaches the sandbox.
func TestProfile(t *testing.T) {
	own := folder(t)
	for _, name := range []string{"profiles", "ro", "rw"} {
		if err := os.MkdirAll(filepath.Join(own, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	shown := t.TempDir() // mounts may not come from /run, where the daemon's folder is
	err := errors.Join(os.Chmod(shown, 0o755), os.Mkdir(filepath.Join(shown, "ro"), 0o755), os.Mkdir(filepath.Join(shown, "rw"), 0o755),
		os.WriteFile(filepath.Join(shown, "ro", "file"), []byte("text\n"), 0o644), os.Chown(filepath.Join(shown, "rw"), 1234, 1234),
		os.WriteFile(filepath.Join(own, "profiles", "tight.toml"), []byte(strings.ReplaceAll(tight, "FOLDER", shown)), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("MCP_GATEWAY_TEST", "passed")
	t.Setenv("MCP_GATEWAY_OTHER", "not passed")
	document, err := json.Marshal(facts)
	if err != nil {
		t.Fatal(err)
	}
	g := startIn(t, own, `version: "1.0"
servers:
  server: {command: /usr/bin/python3, profile: tight, args: ["-c", `+string(document)+`]}
`)
	p := g.connect(t, proxyUID)
	within(t, p.policies)
	opened, err := p.Open(t.Context(), "server", "")
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	got, err := io.ReadAll(opened.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != told {
		problems, _ := io.ReadAll(opened.Stderr)
		t.Errorf("got\n%s\nwant\n%s\n%s", got, told, problems)
	}
}

// TestLimitsOfAProfile: its limits are the cgroup's, and its time ends the server.
func TestLimitsOfAProfile(t *testing.T) {
	own := folder(t)
	err := errors.Join(os.MkdirAll(filepath.Join(own, "profiles"), 0o755), os.WriteFile(filepath.Join(own, "profiles", "short.toml"),
		[]byte("[limits]\nmemory_max = \"100M\"\ncpu_max = 0.5\ncpu_weight = 50\npids_max = 33\n[time]\nrun = \"1s\"\n"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	g := startIn(t, own, `version: "1.0"
servers:
  server: {command: cat, profile: short}
`)
	p := g.connect(t, proxyUID)
	within(t, p.policies)
	opened, err := p.Open(t.Context(), "server", "")
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	exit := within(t, p.exits)
	if exit.TimeLimit.Seconds() != 1 {
		t.Errorf("got %+v, want an end by the time limit of 1s", exit)
	}
}

// TestAllowList: the proxy gets the sandbox's sockets and the rules, and what is
// sent inside comes out at them.
func TestAllowList(t *testing.T) {
	g := start(t, `version: "1.0"
servers:
  server: {command: /bin/bash, profile: network-client, network: ["api.example.com:8443"], args: ["-c", "exec 3<>/dev/tcp/192.0.2.1/8443; cat <&3"]}
  alone: {command: cat}
`)
	p := g.connect(t, proxyUID)
	policy := within(t, p.policies)
	if n := policy.Servers["server"].Network; n == nil || !slices.Equal(n.Allow, []string{"api.example.com:8443"}) || n.MaxConnections == 0 {
		t.Errorf("got rules %+v, want the name and a bound", n)
	}
	if n := policy.Servers["alone"].Network; n != nil {
		t.Errorf("got rules %+v for a server without network", n)
	}
	opened, err := p.Open(t.Context(), "server", "")
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if len(opened.Network) != 3 { // udp and tcp of the name server; everything else
		t.Fatalf("got %d sockets, want 3", len(opened.Network))
	}
	listener, err := net.FileListener(opened.Network[2])
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, conn.LocalAddr().String()); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if got, err := io.ReadAll(opened.Stdout); err != nil || !strings.HasSuffix(string(got), "192.0.2.1]:8443") && string(got) != "192.0.2.1:8443" {
		t.Errorf("got %q, %v, want the address that was meant", got, err)
	}
	alone, err := p.Open(t.Context(), "alone", "")
	if err != nil {
		t.Fatal(err)
	}
	defer alone.Close()
	if len(alone.Network) != 0 {
		t.Errorf("got %d sockets of a server without network", len(alone.Network))
	}
}
