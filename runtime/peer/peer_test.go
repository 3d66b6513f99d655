package peer

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"mcpgateway/runtime/control"
)

// stand is a stand-in for the daemon: the test says what it answers.
type stand struct {
	*control.Conn
	client *Client
	ended  chan error
}

// connect connects a client to a stand-in, which answers hello with reply.
func connect(t *testing.T, reply control.Message, notices Notices) (stand, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	accepted := make(chan *control.Conn, 1)
	go func() {
		socket, err := listener.AcceptUnix()
		if err != nil {
			t.Error(err)
			return
		}
		conn, err := control.NewConn(socket)
		if err != nil {
			t.Error(err)
			return
		}
		if _, _, err := conn.Receive(); err != nil {
			t.Error(err)
		}
		if err := conn.Send(reply); err != nil {
			t.Error(err)
		}
		accepted <- conn
	}()
	client, err := Dial(t.Context(), path, notices)
	conn := <-accepted
	t.Cleanup(conn.Close)
	if err != nil {
		return stand{}, err
	}
	s := stand{Conn: conn, client: client, ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { s.ended <- client.Run(ctx) }()
	t.Cleanup(func() { cancel(); conn.Close() })
	return s, nil
}

var hello = control.Message{Kind: control.KindHello, Version: control.Version}

func greeted(t *testing.T, notices Notices) stand {
	t.Helper()
	s, err := connect(t, hello, notices)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// receive is the next request that the client sent.
func (s stand) receive(t *testing.T, kind control.Kind) control.Message {
	t.Helper()
	message, _, err := s.Receive()
	if err != nil || message.Kind != kind {
		t.Fatalf("got %+v, %v, want %q", message, err, kind)
	}
	return message
}

func TestDialRefuses(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]control.Message{
		"other version": {Kind: control.KindHello, Version: control.Version + 1},
		"no hello":      {Kind: control.KindList},
		"error":         {Kind: control.KindError, Code: control.CodeVersion, Text: "no"},
	} {
		if _, err := connect(t, reply, Notices{}); err == nil {
			t.Errorf("%s: connected", name)
		}
	}
	if _, err := Dial(t.Context(), filepath.Join(t.TempDir(), "none"), Notices{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v for no socket", err)
	}
}

// TestDialEndsWithItsContext: the socket may be there long before the daemon.
func TestDialEndsWithItsContext(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := Dial(ctx, path, Notices{})
		ended <- err
	}()
	if _, err := listener.AcceptUnix(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("it connected to nobody")
	}
}

func files(t *testing.T, n int) []*os.File {
	t.Helper()
	var list []*os.File
	for range n {
		file, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		list = append(list, file)
	}
	return list
}

func TestOpen(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		descriptors int
		network     int // of them
		fails       bool
	}{
		{"streams", 3, 0, false}, {"too few", 2, 0, true}, {"too many", 4, 0, true}, {"streams and network", 3 + 3, 3, false},
		{"network alone", 3, 3, true}, {"a stream too few", 2 + 3, 3, true}, {"negative", 2, -1, true}, {"less than none", 1, -2, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := greeted(t, Notices{})
			descriptors, answered := files(t, tt.descriptors), make(chan struct{})
			go func() {
				defer close(answered)
				request, _, err := s.Receive()
				if err == nil {
					err = s.Send(control.Message{Kind: control.KindOpened, ID: request.ID, Sandbox: request.Server + "-1", Network: tt.network}, descriptors...)
				}
				if err != nil {
					t.Error(err)
				}
			}()
			defer func() { <-answered }()
			opened, err := s.client.Open(t.Context(), "a", "")
			if (err != nil) != tt.fails {
				t.Fatalf("got %v", err)
			}
			if err != nil {
				return
			}
			if opened.Sandbox != "a-1" || len(opened.Network) != tt.network {
				t.Errorf("got %+v", opened)
			}
			opened.Close()
			for _, f := range append(opened.Network, opened.Stdin, opened.Stdout, opened.Stderr) {
				if err := f.Close(); !errors.Is(err, os.ErrClosed) {
					t.Errorf("Close left one open: %v", err)
				}
			}
		})
	}
}

func TestAnswersFindTheirCallers(t *testing.T) {
	t.Parallel()
	s := greeted(t, Notices{})
	results := map[string]chan error{}
	requests := map[string]control.Message{}
	for _, name := range []string{"a", "b"} {
		result := make(chan error, 1)
		results[name] = result
		go func() { result <- s.client.Stop(t.Context(), name) }()
		request := s.receive(t, control.KindStop)
		requests[request.Sandbox] = request
	}
	for name, reply := range map[string]control.Message{
		"b": {Kind: control.KindError, ID: requests["b"].ID, Code: control.CodeUnknown, Text: "no b"},
		"a": {Kind: control.KindDone, ID: requests["a"].ID},
	} {
		if err := s.Send(reply); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if err := <-results["a"]; err != nil {
		t.Errorf("a: got %v", err)
	}
	var refusal *control.Error
	if err := <-results["b"]; !errors.As(err, &refusal) || refusal.Code != control.CodeUnknown {
		t.Errorf("b: got %v, want the code", err)
	}
}

// TestOpenGivenUp: an instance whose caller has gone is stopped, not left open.
func TestOpenGivenUp(t *testing.T) {
	t.Parallel()
	s := greeted(t, Notices{})
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := s.client.Open(ctx, "a", "")
		result <- err
	}()
	request := s.receive(t, control.KindOpen)
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
	if err := s.Send(control.Message{Kind: control.KindOpened, ID: request.ID, Sandbox: "a-1"}, files(t, 3)...); err != nil {
		t.Fatal(err)
	}
	if got := s.receive(t, control.KindStop); got.Sandbox != "a-1" {
		t.Errorf("got %+v, want a stop of a-1", got)
	}
}

func TestEndOfTheConnectionEndsCalls(t *testing.T) {
	t.Parallel()
	s := greeted(t, Notices{})
	result := make(chan error, 1)
	go func() { result <- s.client.Reload(t.Context()) }()
	s.receive(t, control.KindReload)
	s.Close()
	if err := <-result; !errors.Is(err, control.ErrClosed) {
		t.Errorf("got %v, want %v", err, control.ErrClosed)
	}
	if err := <-s.ended; err == nil {
		t.Error("Run ended without a reason")
	}
	if _, err := s.client.List(t.Context()); !errors.Is(err, control.ErrClosed) {
		t.Errorf("got %v after the end, want %v", err, control.ErrClosed)
	}
}

func TestNotices(t *testing.T) {
	t.Parallel()
	exits := make(chan control.Exit, 1)
	refuse := errors.New("not this one")
	s := greeted(t, Notices{
		Policy: func(generation uint64, document []byte) error {
			if string(document) != "good" {
				return refuse
			}
			return nil
		},
		Exited: func(e control.Exit) { exits <- e },
	})
	for document, want := range map[string]control.Kind{"good": control.KindApplied, "bad": control.KindRefused} {
		file, err := control.NewSealed("policy", []byte(document))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(control.Message{Kind: control.KindPolicy, Generation: 3}, file); err != nil {
			t.Fatal(err)
		}
		file.Close()
		if got := s.receive(t, want); got.Generation != 3 || (want == control.KindRefused) != (got.Text == refuse.Error()) {
			t.Errorf("%s: got %+v", document, got)
		}
	}
	if err := s.Send(control.Message{Kind: control.KindExited, Exit: &control.Exit{Sandbox: "a-1"}}); err != nil {
		t.Fatal(err)
	}
	if got := <-exits; got.Sandbox != "a-1" {
		t.Errorf("got %+v", got)
	}
}

// TestUnsealedPolicyIsRefused: what was checked must be what is used.
func TestUnsealedPolicyIsRefused(t *testing.T) {
	t.Parallel()
	s := greeted(t, Notices{Policy: func(uint64, []byte) error { return nil }})
	fd, err := unix.MemfdCreate("open", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "open")
	defer file.Close()
	if err := s.Send(control.Message{Kind: control.KindPolicy, Generation: 1}, file); err != nil {
		t.Fatal(err)
	}
	s.receive(t, control.KindRefused)
}
