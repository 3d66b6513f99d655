package containers_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// gateway is a daemon and a proxy in two containers.
type gateway struct {
	t             *testing.T
	daemon, proxy *container
	data          string // what servers may write to
	key           string
}

// configuration has a server that uses what needs a privilege of the daemon: limits,
// a directory whose owner is another on disk, a secret of a helper, a network by names.
const configuration = `version: "1.0"
audit: {enabled: true, file: /var/log/mcp-gateway/audit.log}
transports:
  http: {enabled: true}
  grpc: {enabled: true, port: 8082}
secrets:
  helpers:
    given: {command: /opt/mcp-servers/helper, env: {CONTAINERS_TEST_HELPER: by-a-helper}}
projects:
  p: {resources: {max_memory_mb: 200}}
servers:
  test:
    project: p
    command: /opt/mcp-servers/testserver
    mounts: [/opt/mcp-servers]
    allowed_directories: ["/srv/data:rw"]
    profile: network-client
    network: ["` + outside + `"]
    resources: {max_memory_mb: 64, max_cpu: 0.5, max_pids: 40}
    redact: false
    env: {GIVEN: "${exec:given:x}"}
`

const (
	outside   = "198.51.100.1:9999" // where a listener of the test is
	dataOwner = 1234
)

// eachRuntime runs a test with each OCI runtime: Kubernetes and Docker have runc, Podman
// has crun.
func eachRuntime(t *testing.T, test func(t *testing.T, runtime string)) {
	t.Helper()
	with(t, []string{"runc", "crun"}, test)
}

// oneRuntime is enough where another would be no other test.
func oneRuntime(t *testing.T, test func(t *testing.T, runtime string)) {
	t.Helper()
	with(t, []string{"runc"}, test)
}

func with(t *testing.T, runtimes []string, test func(t *testing.T, runtime string)) {
	t.Helper()
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		t.Fatal("needs cgroup v2: run make test-vm")
	}
	for _, runtime := range runtimes {
		path, err := exec.LookPath(runtime)
		if err != nil {
			t.Fatalf("%v: packaging/dev/install.sh vm installs it", err)
		}
		t.Run(runtime, func(t *testing.T) { test(t, path) })
	}
}

// volume is a folder as an engine or Kubernetes makes it.
func volume(t *testing.T, mode os.FileMode, owner int) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, owner, owner); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, mode); err != nil {
		t.Fatal(err)
	}
	return dir
}

// write writes a file that everybody may read.
func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// servers is a folder with the test server.
func servers(t *testing.T) string {
	t.Helper()
	dir := volume(t, 0o755, 0)
	content, err := os.ReadFile(filepath.Join(made.bin, "testserver"))
	if err != nil {
		t.Fatalf("%v: CGO_ENABLED=0 go build -o bin/ ./tests/testserver", err)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for name, program := range map[string][]byte{"testserver": content, "helper": self} {
		if err := os.WriteFile(filepath.Join(dir, name), program, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// up starts both, and makes a key in the daemon's container.
func (g *gateway) up() {
	g.t.Helper()
	g.daemon.start()
	g.awaitDaemon()
	g.proxy.start()
	g.proxy.await("ready")
	fields := strings.Fields(g.daemon.mustExec("/usr/bin/mcp-gateway", "key", "create", "me"))
	g.key = fields[len(fields)-1]
	g.await("echo", `{"a":1}`, `"a":1`)
}

// awaitDaemon waits until it answers, as the health check of the compose file does.
func (g *gateway) awaitDaemon() {
	g.t.Helper()
	answers := false
	eventually(func() bool {
		_, err := g.daemon.exec("/usr/bin/mcp-gateway", "ps")
		answers = err == nil
		return answers || g.daemon.hasEnded()
	})
	if answers {
		return
	}
	g.t.Fatalf("the daemon does not answer:\n%s", g.daemon.log)
}

// call calls a tool of a server.
func (g *gateway) call(server, tool, arguments string) (status int, answer string) {
	g.t.Helper()
	request, err := http.NewRequest("POST", "http://127.0.0.1:8080/api/v1/servers/"+server+"/tools/"+tool, strings.NewReader(arguments))
	if err != nil {
		g.t.Fatal(err)
	}
	request.Header.Set("X-API-Key", g.key)
	request.Header.Set("Content-Type", "application/json")
	response, err := (&http.Client{Timeout: time.Minute}).Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

// await calls a tool until the answer holds a text: a new key or file takes a moment.
func (g *gateway) await(tool, arguments, want string) {
	g.t.Helper()
	var answer string
	if eventually(func() bool {
		_, answer = g.call("test", tool, arguments)
		return strings.Contains(answer, want)
	}) {
		return
	}
	g.t.Fatalf("%s: got %s, want %s\ndaemon:\n%s\nproxy:\n%s", tool, answer, want, g.daemon.log, g.proxy.log)
}

// cgroup is the daemon container's on the host.
func (g *gateway) cgroup() string { return "/sys/fs/cgroup" + g.daemon.spec.Linux.CgroupsPath }

// checkLimits reads from the kernel, on the host, what the configuration says, and has
// a server reach its limit.
func (g *gateway) checkLimits() {
	g.t.Helper()
	boxes, _ := filepath.Glob(g.cgroup() + "/mcp-gateway-*/project-p/test-*")
	if len(boxes) == 0 {
		out, _ := exec.Command("find", "/sys/fs/cgroup", "-type", "d").CombinedOutput()
		g.t.Fatalf("no sandbox below %s:\n%s", g.cgroup(), out)
	}
	for file, want := range map[string]string{
		boxes[0] + "/memory.max": strconv.Itoa(64 << 20), boxes[0] + "/memory.swap.max": "0", boxes[0] + "/cpu.max": "50000 100000", boxes[0] + "/pids.max": "40",
		filepath.Dir(boxes[0]) + "/memory.max": strconv.Itoa(200 << 20),
	} {
		if got := strings.TrimSpace(mustRead(file)); got != want {
			g.t.Errorf("%s is %s, want %s", file, got, want)
		}
	}
	if leaf := mustRead(g.cgroup() + "/supervisor/cgroup.procs"); !strings.Contains("\n"+leaf, fmt.Sprintf("\n%d\n", g.daemon.pid())) {
		g.t.Errorf("the daemon is not in its leaf, which has %q", leaf)
	}
	if status, answer := g.call("test", "memory", `{"n":200}`); status == 200 || !strings.Contains(answer, "memory") {
		g.t.Errorf("a server that takes too much: got %d %s, want an error about memory", status, answer)
	}
	g.await("echo", `{"b":2}`, `"b":2`)
}

// checkSandbox asks a server what it is allowed.
func (g *gateway) checkSandbox() {
	g.t.Helper()
	_, answer := g.call("test", "status", `{}`)
	for _, want := range []string{`CapEff:\t0000000000000000`, `CapBnd:\t0000000000000000`, `NoNewPrivs:\t1`, `Seccomp:\t2`, `Uid:\t1000`} {
		if !strings.Contains(answer, want) {
			g.t.Errorf("the server's status has no %s: %s", want, answer)
		}
	}
}

// checkReach has a server write to its directory, connect to where it may, and have its
// secret.
func (g *gateway) checkReach() {
	g.t.Helper()
	if status, answer := g.call("test", "write_file", `{"path":"/srv/data/file","content":"x"}`); status != 200 || strings.Contains(answer, `"isError":true`) {
		g.t.Errorf("write to a directory: %d %s", status, answer)
	}
	var info unix.Stat_t
	if err := unix.Stat(filepath.Join(g.data, "file"), &info); err != nil || info.Uid != dataOwner {
		g.t.Errorf("what a server wrote: %v, and belongs to %d, want %d", err, info.Uid, dataOwner)
	}
	if _, answer := g.call("test", "env", `{}`); !strings.Contains(answer, "GIVEN=by-a-helper") {
		g.t.Errorf("the server has no secret: %s", answer)
	}
	if out, err := exec.Command("ip", "address", "replace", "198.51.100.1/32", "dev", "lo").CombinedOutput(); err != nil {
		g.t.Fatalf("%v: %s", err, out)
	}
	listener, err := net.Listen("tcp", outside)
	if err != nil {
		g.t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	if _, answer := g.call("test", "connect", `{"network":"tcp","address":"`+outside+`"}`); strings.Contains(answer, `"isError":true`) {
		g.t.Errorf("connect to where it may: %s", answer)
	}
	// It may see the connection for a moment, before it is reset.
	g.call("test", "connect", `{"network":"tcp","address":"198.51.100.1:9998"}`)
	g.proxy.await("198.51.100.1:9998 is not in the profile's network.allow")
}

// checkProxy reads from the kernel what the proxy is allowed.
func (g *gateway) checkProxy() {
	g.t.Helper()
	status := mustRead(fmt.Sprintf("/proc/%d/status", g.proxy.pid()))
	for _, want := range []string{"Uid:\t65532\t65532\t65532\t65532", "Gid:\t65532", "NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"} {
		if !strings.Contains(status, want) {
			g.t.Errorf("the proxy's status has no %q:\n%s", want, status)
		}
	}
	mounts := mustRead(fmt.Sprintf("/proc/%d/mountinfo", g.proxy.pid()))
	for _, at := range []string{"/", "/run/mcp-gateway"} {
		if !regexp.MustCompile(`(?m)^\S+ \S+ \S+ \S+ ` + at + ` ro\b`).MatchString(mounts) {
			g.t.Errorf("the proxy may write to %s:\n%s", at, mounts)
		}
	}
}

// checkCommand uses the command in the daemon's container as it is.
func (g *gateway) checkCommand() {
	g.t.Helper()
	var status struct {
		Listeners []struct{ Transport string }
	}
	out := g.daemon.mustExec("/usr/bin/mcp-gateway", "status", "-o", "json")
	if err := json.Unmarshal([]byte(out), &status); err != nil || len(status.Listeners) == 0 {
		g.t.Errorf("mcp-gateway status: %v\n%s", err, out)
	}
	if out, err := g.daemon.exec("/usr/bin/mcp-gateway", "profile", "audit", "test"); err != nil {
		g.t.Errorf("profile audit: %v\n%s", err, out)
	}
	if out := g.daemon.mustExec("/usr/bin/mcp-gateway", "ps"); !strings.Contains(out, "test") {
		g.t.Errorf("mcp-gateway ps: %s", out)
	}
}

// apply makes a container what the compose file says of it.
func (s service) apply(c *container, volumes map[string]string) {
	c.t.Helper()
	if s.User != "" {
		c.user(s.User)
	}
	c.spec.Root.Readonly = s.ReadOnly
	c.capabilities(slices.DeleteFunc(slices.Clone(s.CapAdd), func(name string) bool { return slices.Contains(strings.Split(*without, ","), name) }))
	c.defaultSeccomp()
	if s.Privileged {
		c.privileged()
	}
	for _, option := range s.SecurityOpt {
		switch option {
		case "no-new-privileges:true":
			c.spec.Process.NoNewPrivileges = true
		case "seccomp=unconfined":
			c.spec.Linux.Seccomp = nil
		case "systempaths=unconfined":
			c.unmask()
		case "writable-cgroups=true":
			c.writable("/sys/fs/cgroup")
		case "apparmor=unconfined": // runtimes confine nobody by themselves
		default:
			c.t.Fatalf("security_opt %s", option)
		}
	}
	if s.Cgroup == "host" {
		c.hostCgroups()
	}
	if s.NetworkMode == "none" {
		c.spec.Linux.Namespaces = append(c.spec.Linux.Namespaces, networkNamespace())
	}
	for _, v := range s.Volumes {
		fields := strings.Split(v, ":")
		if volumes[fields[0]] == "" {
			// The first container gives a volume the owner and mode of its mount point.
			volumes[fields[0]] = volumeLike(c, fields[1])
		}
		c.bind(volumes[fields[0]], fields[1], append(fields[2:], "rw")[0])
	}
}

func newCompose(t *testing.T, runtime string) *gateway {
	t.Helper()
	services, volumes := readCompose(t).Services, map[string]string{}
	g := &gateway{t: t, daemon: newContainer(t, runtime, "daemon"), proxy: newContainer(t, runtime, "proxy")}
	for _, role := range roles() {
		services[role].apply(map[string]*container{"daemon": g.daemon, "proxy": g.proxy}[role], volumes)
	}
	g.daemon.bind(write(t, filepath.Join(volume(t, 0o755, 0), "mcp-gateway.yaml"), configuration), "/etc/mcp-gateway/mcp-gateway.yaml", "ro")
	g.addServers()
	return g
}

// addServers mounts what every daemon of these tests has: servers, and their directory.
func (g *gateway) addServers() {
	g.data = volume(g.t, 0o755, dataOwner)
	g.daemon.bind(servers(g.t), "/opt/mcp-servers", "ro")
	g.daemon.bind(g.data, "/srv/data", "rw")
}

// TestPodCompose runs the compose file.
func TestPodCompose(t *testing.T) {
	eachRuntime(t, func(t *testing.T, runtime string) {
		g := newCompose(t, runtime)
		g.up()
		g.checkLimits()
		g.checkSandbox()
		g.checkReach()
		g.checkProxy()
		g.checkCommand()
		g.daemon.kill("TERM")
		g.daemon.wait()
		if left, _ := filepath.Glob(g.cgroup() + "/*/*"); len(left) > 0 {
			t.Errorf("the daemon has left %v", left)
		}
	})
}

// TestPodInit has an init before the daemon, in the same cgroup.
func TestPodInit(t *testing.T) {
	eachRuntime(t, func(t *testing.T, runtime string) {
		g := newCompose(t, runtime)
		g.daemon.spec.Process.Args = append([]string{"/opt/mcp-servers/helper"}, g.daemon.spec.Process.Args...)
		g.daemon.spec.Process.Env = append(g.daemon.spec.Process.Env, initVariable+"=1")
		g.up()
		g.checkCommand()
	})
}

// TestPodCgroups has the cgroup file system as most engines have it by default.
func TestPodCgroups(t *testing.T) {
	oneRuntime(t, func(t *testing.T, runtime string) {
		g := newCompose(t, runtime)
		for i, m := range g.daemon.spec.Mounts {
			if m.Destination == "/sys/fs/cgroup" {
				g.daemon.spec.Mounts[i].Options = append(m.Options, "ro")
			}
		}
		g.daemon.start()
		g.daemon.wait()
		if want := "read-only file system (a container needs a writable /sys/fs/cgroup)"; !strings.Contains(g.daemon.log.String(), want) {
			t.Errorf("got %s, want %s", g.daemon.log, want)
		}
	})
}
