// Package ledgertest runs real PostgreSQL servers for tests: each with data of its own, on
// a port of the loopback device that the kernel chose.
//
// Runs in: tests.
package ledgertest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startWait is how long a server has to answer.
const startWait = time.Minute

// Postgres is a server that runs until the test has ended.
type Postgres struct {
	URL string // of its database, without a password

	t        *testing.T
	dir      string
	port     int
	account  *syscall.Credential
	postgres string // the program

	cmd       *exec.Cmd
	log       buffer
	databases int
}

type buffer struct {
	mu      sync.Mutex
	content bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.content.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.content.String()
}

// NewPostgres makes a server and starts it. The test fails if PostgreSQL is not installed.
func NewPostgres(t *testing.T) *Postgres {
	t.Helper()
	s := &Postgres{t: t}
	var err error
	if s.postgres, err = find("postgres"); err != nil {
		t.Fatal(err)
	}
	initdb, err := find("initdb")
	if err != nil {
		t.Fatal(err)
	}
	// PostgreSQL does not run as root, and its user must pass through the folders above.
	if s.dir, err = os.MkdirTemp("/tmp", "mcp-gateway-postgres-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	if os.Getuid() == 0 {
		s.account = account(t)
		if err := os.Chown(s.dir, int(s.account.Uid), int(s.account.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	made := s.command(initdb, "--pgdata", s.data(), "--username", "gateway", "--auth", "trust", "--no-sync", "--encoding", "UTF8", "--locale", "C")
	if out, err := made.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v: %s", err, out)
	}
	s.port = freePort(t)
	s.URL = fmt.Sprintf("postgres://gateway@127.0.0.1:%d/postgres?sslmode=disable", s.port)
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Database makes another database and returns its URL.
func (s *Postgres) Database(t *testing.T) string {
	t.Helper()
	createdb, err := find("createdb")
	if err != nil {
		t.Fatal(err)
	}
	s.databases++
	name := fmt.Sprintf("test%d", s.databases)
	if out, err := s.command(createdb, "-h", "127.0.0.1", "-p", strconv.Itoa(s.port), "-U", "gateway", name).CombinedOutput(); err != nil {
		t.Fatalf("createdb: %v: %s", err, out)
	}
	return strings.Replace(s.URL, "/postgres?", "/"+name+"?", 1)
}

// find looks where Debian has PostgreSQL's programs, too.
func find(program string) (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + program)
	if err == nil && len(found) > 0 {
		return found[len(found)-1], nil
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("the tests of the ledger need PostgreSQL: run packaging/dev/install.sh build test: %w", err)
	}
	return path, nil
}

func account(t *testing.T) *syscall.Credential {
	t.Helper()
	found, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(found.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(found.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func (s *Postgres) data() string { return filepath.Join(s.dir, "data") }

func (s *Postgres) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...) //nolint:gosec // G204: one of PostgreSQL's own
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.account, Pdeathsig: syscall.SIGINT}
	return cmd
}

// Start starts the server and waits until it answers.
func (s *Postgres) Start() {
	s.t.Helper()
	s.cmd = s.command(s.postgres, "-D", s.data(), "-p", strconv.Itoa(s.port), "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories="+s.dir, "-c", "fsync=off", "-c", "shared_buffers=16MB")
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	ready, err := find("pg_isready")
	if err != nil {
		s.t.Fatal(err)
	}
	for s.command(ready, "-q", "-h", "127.0.0.1", "-p", strconv.Itoa(s.port)).Run() != nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("PostgreSQL does not answer: %s", s.log.String())
		}
	}
}

// Stop ends the server at once, as a crash would; its data stay for another Start.
func (s *Postgres) Stop() {
	if s.cmd == nil {
		return
	}
	if err := s.cmd.Process.Signal(syscall.SIGQUIT); err != nil { // an immediate shutdown
		s.t.Errorf("stop PostgreSQL: %v", err)
	}
	_ = s.cmd.Wait() // its status says nothing of interest
	s.cmd = nil
}
