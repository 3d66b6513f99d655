package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair returns two connected ends and the raw descriptor of the second.
func pair(t *testing.T) (first, second *Conn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	first, err = Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := listener.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	second, err = NewConn(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { first.Close(); second.Close() })
	return first, second
}

func TestSendAndReceive(t *testing.T) {
	t.Parallel()
	first, second := pair(t)
	if got := int(second.Peer.Pid); got != os.Getpid() {
		t.Errorf("got peer %d, want %d", got, os.Getpid())
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	sent := Message{Kind: KindExited, ID: 7, Exit: &Exit{Sandbox: "a-1", Status: 137, OOM: true, Lived: time.Second}}
	if err := first.Send(sent, w); err != nil {
		t.Fatal(err)
	}
	w.Close()
	got, files, err := second.Receive()
	if err != nil || len(files) != 1 {
		t.Fatalf("got %d files, %v, want 1", len(files), err)
	}
	if got.Kind != sent.Kind || got.ID != sent.ID || *got.Exit != *sent.Exit {
		t.Errorf("got %+v, want %+v", got, sent)
	}
	flags, err := unix.FcntlInt(files[0].Fd(), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("got descriptor flags %#x, %v, want close-on-exec", flags, err)
	}
	if _, err := files[0].WriteString("x"); err != nil {
		t.Error(err)
	}
	files[0].Close()
	if text, err := io.ReadAll(r); err != nil || string(text) != "x" {
		t.Errorf("got %q, %v through the descriptor, want x", text, err)
	}
	first.Close()
	if _, _, err := second.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v after the peer closed, want EOF", err)
	}
}

// TestReceiveRefuses sends packets that no peer of ours would.
func TestReceiveRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, packet string
		descriptors  int
	}{
		{"no JSON", "hello", 0},
		{"two messages", `{"kind":"list"}{"kind":"list"}`, 0},
		{"unknown field", `{"kind":"open","path":"/etc/shadow"}`, 0},
		{"wrong type", `{"kind":7}`, 0},
		{"too long", `{"kind":"` + strings.Repeat("x", MaxMessage) + `"}`, 0},
		{"too many descriptors", `{"kind":"list"}`, 2 * maxDescriptors},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			first, second := pair(t)
			var fds []int
			for range tt.descriptors {
				fds = append(fds, 0)
			}
			var rights []byte
			if fds != nil {
				rights = unix.UnixRights(fds...)
			}
			if _, _, err := first.socket.WriteMsgUnix([]byte(tt.packet), rights, nil); err != nil {
				t.Fatal(err)
			}
			if message, files, err := second.Receive(); err == nil {
				closeAll(files)
				t.Errorf("got %+v, want an error", message)
			}
		})
	}
}

// TestRefusedDescriptorsAreClosed: a peer must not fill our table with them.
func TestRefusedDescriptorsAreClosed(t *testing.T) {
	first, second := pair(t)
	before := descriptors(t)
	for range 20 {
		if _, _, err := first.socket.WriteMsgUnix([]byte("bad"), unix.UnixRights(0, 0, 0, 0, 0, 0, 0, 0), nil); err != nil {
			t.Fatal(err)
		}
		_, files, err := second.Receive()
		closeAll(files)
		if err == nil {
			t.Fatal("got a message")
		}
		if _, _, err = first.socket.WriteMsgUnix([]byte("{}"), unix.UnixRights(make([]int, 100)...), nil); err != nil {
			t.Fatal(err)
		}
		_, files, err = second.Receive()
		closeAll(files)
		if err == nil {
			t.Fatal("got a message")
		}
	}
	if after := descriptors(t); after > before {
		t.Errorf("got %d descriptors, had %d", after, before)
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestRefuseDescriptors(t *testing.T) {
	t.Parallel()
	first, second := pair(t)
	second.RefuseDescriptors()
	err := first.Send(Message{Kind: KindList}, os.Stdin)
	var release unix.Utsname
	if unameErr := unix.Uname(&release); unameErr != nil {
		t.Fatal(unameErr)
	}
	var major, minor int
	if _, scanErr := fmt.Sscanf(unix.ByteSliceToString(release.Release[:]), "%d.%d", &major, &minor); scanErr != nil {
		t.Fatal(scanErr)
	}
	if can := major > 6 || major == 6 && minor >= 16; can && err == nil {
		t.Error("sent a descriptor to who refuses it")
	}
}

// TestSendGivesUp: a peer that does not read holds nobody up for ever.
func TestSendGivesUp(t *testing.T) {
	t.Parallel()
	first, _ := pair(t)
	var err error
	for range 100_000 {
		if err = first.Send(Message{Kind: KindError, Text: strings.Repeat("x", 8<<10)}); err != nil {
			break
		}
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want that the deadline ends it", err)
	}
}

func TestSendRefusesALongMessage(t *testing.T) {
	t.Parallel()
	first, _ := pair(t)
	if err := first.Send(Message{Kind: KindError, Text: strings.Repeat("x", MaxMessage)}); err == nil {
		t.Error("sent a message that no peer would take")
	}
}

func TestSealed(t *testing.T) {
	t.Parallel()
	file, err := NewSealed("test", []byte("document"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if got, err := ReadSealed(file); err != nil || string(got) != "document" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := file.WriteAt([]byte("x"), 0); err == nil {
		t.Error("could write a sealed document")
	}
	fd, err := unix.MemfdCreate("open", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	open := os.NewFile(uintptr(fd), "open")
	defer open.Close()
	if _, err := ReadSealed(open); err == nil {
		t.Error("read a document that can still change")
	}
	if _, err := NewSealed("long", make([]byte, maxDocument+1)); err == nil {
		t.Error("sealed a document that is too long")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"kind":"open","id":1,"server":"files"}`))
	f.Add([]byte(`{"kind":"hello","version":1}`))
	f.Add([]byte(`{"kind":"list"}{}`))
	f.Fuzz(func(t *testing.T, packet []byte) {
		message, err := parse(packet, 0)
		if err != nil {
			return
		}
		again, err := json.Marshal(message)
		if err != nil {
			t.Fatalf("%q parsed, and can't be written: %v", packet, err)
		}
		if len(again) <= MaxMessage {
			if _, err := parse(again, 0); err != nil {
				t.Errorf("%q was written as %q, which does not parse: %v", packet, again, err)
			}
		}
	})
}

// The last word comes behind the others, and nobody waits for a peer that does not read.
func TestDismiss(t *testing.T) {
	t.Parallel()
	first, second := pair(t)
	if err := first.Send(Message{Kind: KindReloaded}); err != nil {
		t.Fatal(err)
	}
	first.Dismiss(Message{Kind: KindError, Code: CodeReplaced})
	for _, want := range []Kind{KindReloaded, KindError} {
		if got, _, err := second.Receive(); err != nil || got.Kind != want {
			t.Errorf("got %+v, %v, want %q", got, err, want)
		}
	}
	if _, _, err := second.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the end", err)
	}
	deaf, _ := pair(t)
	full := make(chan struct{})
	go func() {
		defer close(full)
		for deaf.Send(Message{Kind: KindReloaded, Text: strings.Repeat("x", MaxMessage/2)}) == nil {
			continue
		}
	}()
	<-time.After(100 * time.Millisecond) // so that it waits
	began := time.Now()
	deaf.Dismiss(Message{Kind: KindError, Code: CodeReplaced})
	<-full
	if took := time.Since(began); took > sendTimeout-time.Second {
		t.Errorf("it took %s, as if nobody had dismissed it", took)
	}
}
