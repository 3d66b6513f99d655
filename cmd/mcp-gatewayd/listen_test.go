package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const proxyUID = 65532

// TestListen makes the control socket in a folder that is everybody's at first, as a
// volume of Kubernetes is, again after a daemon that was killed.
func TestListen(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("needs root: run the tests as make test does")
	}
	dir := filepath.Join(t.TempDir(), "run")
	f := flags{runtimeDir: dir, listen: filepath.Join(dir, "control.sock")}
	unlock, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	for _, mode := range []os.FileMode{0o777, os.ModeSticky | 0o777} { // on disk, in memory
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		listener, err := listen(f, proxyUID)
		if err != nil {
			t.Fatal(err)
		}
		folder, socket := mustStat(t, dir), mustStat(t, f.listen)
		if folder.mode != 0o755 || socket.mode != 0o600 || socket.uid != proxyUID || listener.Addr().Network() != "unixpacket" {
			t.Errorf("folder %+v, socket %+v (%s), want 0755, and 0600 of the proxy's", folder, socket, listener.Addr().Network())
		}
		listener.SetUnlinkOnClose(false) // it is killed
		listener.Close()
	}
}

type status struct {
	mode os.FileMode
	uid  uint32
}

func mustStat(t *testing.T, path string) status {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return status{info.Mode() &^ os.ModeType, info.Sys().(*syscall.Stat_t).Uid}
}

func TestListenRefuses(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("needs root: run the tests as make test does")
	}
	dir := t.TempDir()
	full, foreign := filepath.Join(dir, "full"), filepath.Join(dir, "foreign")
	for _, path := range []string{full, foreign} {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(full, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(foreign, proxyUID, 0); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		f       flags
		passed  string
		problem string
	}{
		{"neither", flags{runtimeDir: dir}, "", "use -listen"},
		{"both", flags{runtimeDir: dir, listen: filepath.Join(dir, "control.sock")}, "1", "use either"},
		{"elsewhere", flags{runtimeDir: dir, listen: "/tmp/control.sock"}, "", "name " + filepath.Join(dir, "control.sock")},
		{"below", flags{runtimeDir: dir, listen: filepath.Join(dir, "full/control.sock")}, "", "not in the run-time folder"},
		{"the proxy's", flags{runtimeDir: foreign, listen: filepath.Join(foreign, "control.sock")}, "", "give the daemon one of its own"},
		{"in the way", flags{runtimeDir: dir, listen: full}, "", "address already in use"},
	} {
		t.Setenv("LISTEN_FDS", test.passed)
		if listener, err := listen(test.f, proxyUID); err == nil || !strings.Contains(err.Error(), test.problem) {
			t.Errorf("%s: got %v, want %s", test.name, err, test.problem)
			closeIfAny(listener)
		}
	}
}

func closeIfAny(l *net.UnixListener) {
	if l != nil {
		l.Close()
	}
}
