package sandbox_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/sandbox"
)

func credential(uid int) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
}

// bystander is a process of the host with the uid of a sandbox: the kernel would
// let that user kill it.
func bystander(t *testing.T, uid int) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sleep", "1000")
	cmd.SysProcAttr = credential(uid)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd
}

// state of a process of the host (proc_pid_stat(5)): "S", "T", "Z" and so on.
func state(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "gone"
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return rest[:1]
}

// escapeByKilling sends SIGSTOP and SIGKILL to everything: process 1, the server's
// own reaper, and other servers and processes of the host.
func escapeByKilling(t *testing.T) {
	neighbour := start(t, spec(t, "/bin/cat"))
	s := spec(t, "/bin/sh", "-c", "read pid; kill -9 $pid 2>/dev/null && echo killed; /srv/attack kill-all; echo after; exit 7")
	s.Mounts = attack(t).Mounts
	box := start(t, s)
	same := bystander(t, box.UID())
	fmt.Fprintln(box.stdin, same.Process.Pid)
	got := box.wait(t)
	// The script is killed with the rest, and the reaper says so.
	if got.stdout != "" && !strings.HasPrefix(got.stdout, "ok EPERM\n") || got.exit.Status != 128+int(unix.SIGKILL) {
		t.Errorf("got %q, %s, status %d", got.stdout, got.stderr, got.exit.Status)
	}
	if left := processesOf(t, box.Sandbox); len(left) != 1 || !strings.HasPrefix(left[0], "sleep ") {
		t.Errorf("processes %q of the same uid are left, want the bystander", left)
	}
	for _, pid := range []int{same.Process.Pid, neighbour.PID()} {
		if got := state(t, pid); got != "S" && got != "R" && got != "D" {
			t.Errorf("a process outside was stopped or killed: its state is %q", got)
		}
	}
	// The same user outside of the pid namespace.
	cmd := exec.Command(filepath.Join(bin, "attack"), "kill", fmt.Sprint(same.Process.Pid), "9")
	cmd.SysProcAttr = credential(box.UID())
	if out, err := cmd.Output(); err != nil || string(out) != "ok\n" {
		t.Errorf("got %q, %v outside: this proves nothing", out, err)
	}
}

// escapeBySignals sends every signal there is to process 1, which must not fall
// over any. Where Landlock has scopes, none arrives.
func escapeBySignals(t *testing.T) {
	if got := runToEnd(t, attack(t, "signal-init")); !strings.HasSuffix(got.stdout, "reaped\n") || got.exit.Status != 0 {
		t.Errorf("got %q, %s, status %d, want that process 1 goes on", got.stdout, got.stderr, got.exit.Status)
	}
	victim := bystander(t, owner)
	if got := outsideHere(t, "kill", fmt.Sprint(victim.Process.Pid), "9"); got != "ok" {
		t.Errorf("got %q outside: this proves nothing", got)
	}
}

// outsideHere runs an attack as root, in the host's own pid and net namespaces.
func outsideHere(t *testing.T, arguments ...string) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(bin, "attack"), arguments...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// escapeBySeeing: two servers on one host can't see, signal, read or count each
// other. What they can is how loaded the host is: /proc/loadavg, /proc/stat and
// sysinfo(2) count for the whole of it.
func escapeBySeeing(t *testing.T) {
	neighbour := start(t, spec(t, "/bin/sh", "-c", "sleep 1000 & sleep 1000 & sleep 1000 & echo ready; wait"))
	firstLine(t, neighbour.stdout)
	for _, line := range lines(runToEnd(t, attack(t, "see", "listed")).stdout) {
		if !strings.Contains(line, "attack") || strings.Contains(line, "sleep") {
			t.Errorf("process %s shows", line)
		}
	}
	// Its own threads, and the launcher's, have the first numbers.
	for _, line := range lines(runToEnd(t, attack(t, "see", "signalled")).stdout) {
		var pid int
		if _, err := fmt.Sscan(line, &pid); err != nil || pid > 64 {
			t.Errorf("process %s takes signals", line)
		}
	}
	pid := fmt.Sprint(neighbour.PID())
	if got := runToEnd(t, attack(t, "kill", pid, "0")).stdout; got != "ESRCH\n" {
		t.Errorf("got %q for the neighbour's number on the host", got)
	}
	if out := outsideHere(t, "see", "listed"); strings.Count(out, "sleep") < 3 {
		t.Errorf("got %q outside: this proves nothing", out)
	}
	if got := outsideHere(t, "kill", pid, "0"); got != "ok" {
		t.Errorf("got %q outside: this proves nothing", got)
	}
}

// escapeByTerminal types into the terminal of whoever started the server.
func escapeByTerminal(t *testing.T) {
	for _, within := range []bool{true, false} {
		master, slave := terminal(t)
		if within {
			s := attack(t, "type-into-terminal")
			if got := runOn(t, s, slave); got != "EPERM\n" {
				t.Errorf("got %q inside", got)
			}
		} else {
			cmd := exec.Command(filepath.Join(bin, "attack"), "type-into-terminal")
			cmd.Stdin = slave
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			if out, err := cmd.Output(); err != nil || string(out) != "ok\n" {
				t.Errorf("got %q, %v outside: this proves nothing", out, err)
			}
		}
		// What is typed is echoed at once.
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(master.Fd()), Events: unix.POLLIN}}, 0)
		if typed := n > 0; err != nil || typed == within {
			t.Errorf("inside: %v, typed: %v, %v", within, typed, err)
		}
	}
}

func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

// escapeByStreams: a server that closes its streams, fills them, or stops itself,
// still ends when it is asked to.
func escapeByStreams(t *testing.T) {
	for name, script := range map[string]string{
		"closes":         "exec <&- >&- 2>&-; trap '' TERM INT HUP; while :; do sleep 1; done",
		"fills":          "trap '' TERM PIPE; echo ready; while :; do echo full || sleep 1; done",
		"stops":          "echo ready; kill -STOP $$",
		"leaves a child": "trap '' TERM; (setsid sh -c \"trap '' TERM; sleep 1000\" <&0 >&1 2>&2 &); echo ready; sleep 1000",
	} {
		box := start(t, spec(t, "/bin/sh", "-c", script))
		if name == "closes" {
			var nothing [1]byte
			if n, err := box.stdout.Read(nothing[:]); n != 0 {
				t.Errorf("%s: got %d bytes, %v", name, n, err)
			}
		} else if _, err := bufio.NewReaderSize(box.stdout, 16).ReadString('\n'); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if state(t, box.PID()) == "gone" {
			t.Errorf("%s: it has ended by itself: this proves nothing", name)
		}
		box.Stop(time.Millisecond)
		if left := processesOf(t, box.Sandbox); len(left) != 0 {
			t.Errorf("%s: %q outlived its end", name, left)
		}
	}
}

// escapeByConnecting goes for listeners of the host: by address, by name in the
// abstract namespace, and by path.
func escapeByConnecting(t *testing.T) {
	dir := directory(t, owner)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	open, closed := filepath.Join(dir, "open.sock"), filepath.Join(dir, "closed.sock")
	attempts := [][2]string{{"unix", fmt.Sprintf("@mcp-gateway-test-%d", os.Getpid())}, {"tcp", "127.0.0.1:0"}, {"tcp", "[::1]:0"}, {"udp", "127.0.0.1:0"}, {"unix", closed}, {"unix", open}}
	for _, address := range ownAddresses(t) {
		attempts = append(attempts, [2]string{"tcp", net.JoinHostPort(address, "0")})
	}
	for i, a := range attempts {
		attempts[i][1] = listen(t, a[0], a[1])
	}
	if err := os.Chmod(closed, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o666); err != nil {
		t.Fatal(err)
	}
	s := attack(t, "each")
	show(&s, dir, false)
	for _, a := range attempts {
		s.Args = append(s.Args, "connect "+a[0]+" "+a[1])
	}
	got := strings.Fields(runToEnd(t, s).stdout)
	if len(got) != len(attempts) {
		t.Fatalf("got %q for %q", got, attempts)
	}
	for i, a := range attempts {
		// By design: a socket in a folder that is mounted can be connected to if its
		// mode lets everybody. Whoever mounts the folder gives the socket too.
		if wanted := a[1] == open; (got[i] == "ok") != wanted {
			t.Errorf("%s %s inside: got %s", a[0], a[1], got[i])
		}
		if got := outsideHere(t, "connect", a[0], a[1]); got != "ok" {
			t.Errorf("%s %s outside: got %q: this proves nothing", a[0], a[1], got)
		}
	}
}

// ownAddresses are the host's, beside loopback.
func ownAddresses(t *testing.T) (found []string) {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if ip := a.(*net.IPNet).IP; !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
			found = append(found, ip.String())
		}
	}
	return found
}

// listen says something to everybody who connects, and returns where.
func listen(t *testing.T, network, address string) string {
	t.Helper()
	if network == "udp" {
		conn, err := net.ListenPacket(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		go func() {
			for {
				_, from, err := conn.ReadFrom(make([]byte, 16))
				if err != nil {
					return
				}
				conn.WriteTo([]byte("host"), from)
			}
		}()
		return conn.LocalAddr().String()
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Write([]byte("host"))
			conn.Close()
		}
	}()
	return listener.Addr().String()
}

// escapeByArguments: what is too long for the kernel does not start, and says so.
func escapeByArguments(t *testing.T) {
	const most = 128<<10 - 1 // MAX_ARG_STRLEN, with the byte at its end
	long := strings.Repeat("x", most)
	s := spec(t, "/bin/sh", "-c", "echo ${#1} ${#VARIABLE}", "sh", long)
	s.Env = append(s.Env, "VARIABLE="+long[:most-len("VARIABLE=")])
	if got := runToEnd(t, s); got.stdout != fmt.Sprintln(most, most-len("VARIABLE=")) {
		t.Errorf("got %.100q, %.100q for what is just short enough", got.stdout, got.stderr)
	}
	s = spec(t, "/bin/echo", slices.Repeat([]string{long}, 64)...)
	box, err := tryStart(t, s)
	if err == nil {
		box.stdin.Close()
		got := box.wait(t)
		if got.exit.Status == 0 || !strings.Contains(got.stderr, "argument list too long") {
			t.Errorf("got %+v, %.200q for 8 MB of arguments", got.exit, got.stderr)
		}
	} else if !strings.Contains(err.Error(), "argument list too long") {
		t.Errorf("got %v for 8 MB of arguments", err)
	}
}

// runOn runs a sandbox with a file of the test's as its standard input.
func runOn(t *testing.T, s sandbox.Spec, stdin *os.File) string {
	t.Helper()
	r, w := pipe(t)
	box, err := sandboxes.Start(s, sandbox.Stdio{Stdin: stdin, Stdout: w, Stderr: w})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	<-box.Done()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
