package backend

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/socket"
)

// written gives a Conn that nothing reads from, whose writer runs, and the server's end of
// its input, which takes but a few lines at once.
func written(t *testing.T) (conn *Conn, far *os.File) {
	t.Helper()
	near, far, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := near.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<10) }); err != nil {
		t.Fatal(err)
	}
	conn = &Conn{outbox: newOutbox(), asking: make(chan []byte)}
	conn.settings.Store(&Spec{Server: "s"})
	if conn.input, err = socket.NewWriter(near); err != nil {
		t.Fatal(err)
	}
	conn.files.Stdout = near
	conn.outbox.try, conn.outbox.broken = conn.input.Try, conn.closedInput
	var writing sync.WaitGroup
	writing.Go(func() { conn.write(context.Background(), nil) })
	t.Cleanup(func() {
		conn.outbox.close(errShutdown)
		conn.input.Close()
		far.Close()
		writing.Wait()
	})
	return conn, far
}

// Whoever writes, lines stay whole, and those of one caller in their order.
func TestManyWrite(t *testing.T) {
	t.Parallel()
	conn, far := written(t)
	const callers, lines = 8, 400
	var working sync.WaitGroup
	for caller := range callers {
		working.Go(func() {
			for i := range lines {
				text := strings.Repeat("x", (i*caller*37)%3000)
				m := mcp.NewRequest(nil, fmt.Sprintf("%d/%d", caller, i), []byte(`{"x":"`+text+`"}`))
				if err := conn.outbox.put(t.Context(), m, nil); err != nil {
					t.Error(err)
					return
				}
				if i%50 == 0 {
					conn.asking <- []byte(`{"jsonrpc":"2.0","method":"asked"}` + "\n")
				}
			}
		})
	}
	var next [callers]int
	asked := 0
	in := bufio.NewReader(far)
	for range callers*lines + callers*lines/50 {
		line, err := in.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		m, err := mcp.Parse(line)
		if err != nil {
			t.Fatalf("%v: %.100q", err, line)
		}
		if m.Method() == "asked" {
			asked++
			continue
		}
		var caller, i int
		if _, err := fmt.Sscanf(m.Method(), "%d/%d", &caller, &i); err != nil || next[caller] != i {
			t.Fatalf("got %s, want line %d (%v)", m.Method(), next[caller], err)
		}
		next[caller]++
	}
	working.Wait()
	if asked != callers*lines/50 || conn.outbox.len() != 0 {
		t.Errorf("got %d questions and %d lines left", asked, conn.outbox.len())
	}
}

// Callers that come at once are written at once.
func TestCallersShareAWrite(t *testing.T) {
	before := runtime.GOMAXPROCS(1) // one after the other, so that nobody adds while another writes
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	o, writes := newOutbox(), 0
	o.try = func(lines []byte) (int, error) {
		writes++
		return len(lines), nil
	}
	const callers = 16
	var calling sync.WaitGroup
	begin := make(chan struct{})
	for range callers {
		calling.Go(func() {
			<-begin
			if err := o.put(context.Background(), parse(t, `{"jsonrpc":"2.0","method":"x"}`), nil); err != nil {
				t.Error(err)
			}
		})
	}
	close(begin)
	calling.Wait()
	if writes > callers/2 || o.len() != 0 {
		t.Errorf("got %d writes, and %d lines left, of %d callers that came at once", writes, o.len(), callers)
	}
}

// A server that does not read keeps nobody who writes waiting, until there is no room.
func TestWriteWaitsForNobody(t *testing.T) {
	t.Parallel()
	conn, far := written(t)
	m := mcp.NewRequest(nil, "a", mcp.Quote(strings.Repeat("x", 100<<10)))
	for range maxOutbox / (200 << 10) {
		if room, err := conn.outbox.offer(m, nil); room != nil || err != nil {
			t.Fatalf("got no room (%v)", err)
		}
	}
	want := int64(maxOutbox / (200 << 10) * (len(m.Raw()) + 1))
	if got, err := io.Copy(io.Discard, io.LimitReader(far, want)); got != want {
		t.Errorf("got %d bytes (%v), want %d", got, err, want)
	}
}

// While it is the writer's turn, as it is from before a freeze until after the thaw, nobody
// else writes.
func TestNobodyWritesOutOfTurn(t *testing.T) {
	t.Parallel()
	conn, far := written(t)
	if !conn.outbox.seize() {
		t.Fatal("it could not be seized")
	}
	tries := 0
	try := conn.outbox.try
	conn.outbox.try = func(lines []byte) (int, error) {
		tries++
		return try(lines)
	}
	conn.outbox.tell(mcp.NewRequest(nil, "first", nil)) // the writer, which is not halted here, writes it
	in := bufio.NewReader(far)
	if line, err := in.ReadString('\n'); !strings.Contains(line, "first") || tries != 0 {
		t.Errorf("got %q (%v) and %d tries", line, err, tries)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		conn.outbox.mu.Lock()
		turn := conn.outbox.turn
		conn.outbox.mu.Unlock()
		if !turn || time.Now().After(deadline) {
			break
		}
	}
	conn.outbox.tell(mcp.NewRequest(nil, "second", nil))
	if line, err := in.ReadString('\n'); !strings.Contains(line, "second") || tries != 1 {
		t.Errorf("got %q (%v) and %d tries, want one", line, err, tries)
	}
}

// A server that has closed its input takes no more.
func TestBrokenInput(t *testing.T) {
	t.Parallel()
	conn, far := written(t)
	far.Close()
	conn.outbox.tell(mcp.NewRequest(nil, "lost", nil))
	if _, err := conn.outbox.offer(mcp.NewRequest(nil, "refused", nil), nil); err == nil || !strings.Contains(err.Error(), "closed its input") {
		t.Errorf("got error %v", err)
	}
}
