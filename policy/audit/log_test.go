package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/chain"
)

// keeper is a daemon whose files are the test's.
type keeper struct {
	t    testing.TB
	dir  string
	key  ed25519.PrivateKey
	fail error

	mu      sync.Mutex
	signed  []chain.Head
	rotated int
	number  uint64
}

func newKeeper(t testing.TB) *keeper {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &keeper{t: t, dir: t.TempDir(), key: key}
}

func (k *keeper) path() string { return filepath.Join(k.dir, "audit.log") }

func (k *keeper) Checkpoint(_ context.Context, head chain.Head) (chain.Head, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.signed) > 0 && head.Sequence < k.signed[len(k.signed)-1].Sequence {
		k.t.Errorf("checkpoint went back to %d", head.Sequence)
	}
	signed := head.Sign(k.key, time.Now())
	k.signed = append(k.signed, signed)
	return signed, k.fail
}

func (k *keeper) Rotate(ctx context.Context, head chain.Head) (Handover, error) {
	signed, err := k.Checkpoint(ctx, head)
	if err != nil {
		return Handover{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rotated++
	if err := os.Rename(k.path(), fmt.Sprintf("%s.%d", k.path(), k.rotated)); err != nil {
		return Handover{}, err
	}
	return k.handover(k.path(), &signed), nil
}

func (k *keeper) handover(path string, after *chain.Head) Handover {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		k.t.Error(err)
	}
	k.number++
	return Handover{File: file, Number: k.number, Chain: "a1", After: after}
}

func rules() *policy.Audit {
	return &policy.Audit{
		MaxSize: 1 << 20, OnFull: policy.OnFullBlock, Sync: policy.SyncInterval, DigestKey: []byte("key"),
		Arguments: []policy.AuditTools{{Server: "files", Tools: []string{"read"}}}, Redact: []string{"password"},
	}
}

// running starts a log; stop ends it and waits.
func running(t testing.TB, k Keeper) (l *Log, stop func()) {
	l = New(k, slog.New(slog.NewTextHandler(t.Output(), nil)))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = l.Run(ctx)
	}()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return l, stop
}

func write(t testing.TB, l *Log, r Record) {
	t.Helper()
	slot, err := l.Reserve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slot.Write(&r)
}

func content(t testing.TB, path string) []map[string]any {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []map[string]any
	for line := range bytes.Lines(text) {
		var one map[string]any
		if len(line) == 1 {
			continue
		}
		if err := json.Unmarshal(line, &one); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		lines = append(lines, one)
	}
	return lines
}

func TestRecordsAreWritten(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	l, stop := running(t, k)
	l.Apply(rules(), k.handover(k.path(), nil))
	write(t, l, Record{
		Event: EventCall, Subject: "key:1", Server: "files", MCPMethod: "tools/call", Name: "read\n{\"seq\":1}", Status: "ok",
		Duration: 1500 * time.Microsecond, Reason: strings.Repeat("é", 2000),
	})
	write(t, l, Record{Event: EventCall, Server: "files", Name: "read", Arguments: []byte("{\n\"a\": {\"Password\": {\"x\":1}, \"b\":\"\u009b\"}}")})
	write(t, l, Record{Event: EventCall, Server: "files", Name: "write", Arguments: []byte(`{"secret":1}`)})
	stop()
	lines := content(t, k.path())
	if len(lines) != 4 || lines[0]["event"] != chain.EventOpened || lines[0]["chain"] != "a1" {
		t.Fatalf("got %v, want an opening line and three records", lines)
	}
	for i, line := range lines {
		if line["seq"] != float64(i+1) || i > 0 && line["prev"] != lines[i-1]["hash"] {
			t.Errorf("line %d is not chained: %v", i, line)
		}
	}
	if got := lines[1]; got["name"] != "read\n{\"seq\":1}" || got["duration_us"] != 1500.0 || len(fmt.Sprint(got["reason"])) > maxReason+3 {
		t.Errorf("got %v", got)
	}
	if got := fmt.Sprint(lines[2]["arguments"]); got != "map[a:map[Password:[redacted] b:\u009b]]" {
		t.Errorf("got arguments %s", got)
	}
	if _, kept := lines[3]["arguments"]; kept || len(fmt.Sprint(lines[3]["arguments_digest"])) != 64 {
		t.Errorf("got %v, want a digest alone", lines[3])
	}
	if text, _ := os.ReadFile(k.path()); bytes.ContainsRune(text, '\u009b') || bytes.Count(text, []byte("\n")) != 4 {
		t.Errorf("got %q", text)
	}
	if len(k.signed) != 1 || k.signed[0].Sequence != 4 || k.signed[0].Hash != lines[3]["hash"] {
		t.Errorf("got signed %v, want the last line", k.signed)
	}
}

// TestMirrors: what is written is sent to a syslog server, too.
func TestMirrors(t *testing.T) {
	t.Parallel()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	k := newKeeper(t)
	l, stop := running(t, k)
	p := rules()
	p.Syslog = &policy.Syslog{Network: "udp", Address: server.LocalAddr().String(), Facility: 10}
	l.Apply(p, k.handover(k.path(), nil))
	write(t, l, Record{Event: EventDenied, Decision: Deny})
	stop()
	text, err := os.ReadFile(k.path())
	if err != nil {
		t.Fatal(err)
	}
	packet := make([]byte, 64<<10)
	for line := range strings.Lines(string(text)) {
		_ = server.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, _, err := server.ReadFrom(packet)
		if got := string(packet[:n]); err != nil || !strings.HasSuffix(got, "] "+strings.TrimSpace(line)) {
			t.Errorf("got %q, %v, want %s", got, err, line)
		}
	}
}

func TestNilAndOff(t *testing.T) {
	t.Parallel()
	var none *Log
	none.Apply(rules(), Handover{})
	for _, l := range []*Log{none, New(newKeeper(t), slog.Default())} {
		slot, err := l.Reserve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		slot.Write(&Record{})
		slot.Release()
	}
}

func TestReserveWaitsForRoom(t *testing.T) {
	t.Parallel()
	l := New(newKeeper(t), slog.Default()) // nothing writes
	l.Apply(rules(), Handover{})
	var last Slot
	for range maxSlots {
		slot, err := l.Reserve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		last = slot
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := l.Reserve(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want a deadline", err)
	}
	last.Release()
	if _, err := l.Reserve(t.Context()); err != nil {
		t.Error(err)
	}
}

func BenchmarkReserveAndWrite(b *testing.B) {
	r := Record{
		Event: EventCall, Correlation: "0123456789abcdef", Subject: "key:abcdef", User: "alice", Method: policy.MethodAPIKey,
		Source: netip.MustParseAddr("192.0.2.1"), Transport: "http", Project: "alpha", Server: "files", Instance: "files-7", MCPMethod: "tools/call",
		Name: "read_file", Decision: Allow, Rule: "developers", Status: "ok", Duration: time.Millisecond, BytesIn: 300, BytesOut: 4000,
		Arguments: []byte(`{"path":"/srv/projects/alpha/README.md"}`),
	}
	for _, goroutines := range []int{1, 16} {
		b.Run(fmt.Sprint(goroutines), func(b *testing.B) {
			k := newKeeper(b)
			l, stop := running(b, k)
			p := rules()
			p.MaxSize = 1 << 40
			l.Apply(p, k.handover(k.path(), nil))
			b.ReportAllocs()
			b.ResetTimer()
			var all sync.WaitGroup
			for i := range goroutines {
				all.Go(func() {
					for n := i; n < b.N; n += goroutines {
						slot, err := l.Reserve(context.Background())
						if err != nil {
							b.Error(err)
						}
						one := r
						slot.Write(&one)
					}
				})
			}
			all.Wait()
			b.StopTimer()
			stop()
		})
	}
}

// interrupted is a keeper who is asked for a signature when the gateway stops.
type interrupted struct {
	*keeper
	stop func()
}

func (k interrupted) Checkpoint(ctx context.Context, head chain.Head) (chain.Head, error) {
	k.stop()
	if ctx.Err() != nil {
		return chain.Head{}, ctx.Err()
	}
	return k.keeper.Checkpoint(ctx, head)
}

// The log goes on in another file with what came before signed, also at the end.
func TestStopDuringAReplacement(t *testing.T) {
	k := newKeeper(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l := New(interrupted{k, stop}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	l.Apply(rules(), k.handover(k.path(), nil))
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	write(t, l, Record{Event: EventCall})
	for l.slots.free.Load() < maxSlots { // until it is written
		<-time.After(time.Millisecond)
	}
	other := filepath.Join(k.dir, "other.log")
	l.Apply(rules(), k.handover(other, nil))
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if first := content(t, other)[0]; !strings.Contains(fmt.Sprint(first), k.signed[0].Signature) || k.signed[0].Sequence != 2 {
		t.Errorf("got %v, want that it names %+v", first, k.signed[0])
	}
}
