package usage

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mcpgateway/proxy/ledger"
	"mcpgateway/proxy/telemetry"
)

// crashFolder is the variable that makes of this program one that counts until it is
// killed.
const crashFolder = "USAGE_TEST_FOLDER"

func TestMain(m *testing.M) {
	if folder := os.Getenv(crashFolder); folder != "" {
		fmt.Fprintln(os.Stderr, countForEver(folder))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// callers is how many call at once in it.
const callers = 4

// countForEver writes a byte for each call that was counted, as a client that was answered
// would.
func countForEver(folder string) error {
	m := New(Options{Folder: folder, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err := m.Apply(rules()); err != nil {
		return err
	}
	var calling sync.WaitGroup
	for range callers {
		calling.Go(func() {
			for {
				_ = call(m)
				if _, err := os.Stdout.Write([]byte{1}); err != nil {
					return
				}
			}
		})
	}
	err := m.Run(context.Background())
	calling.Wait()
	return err
}

// Whenever the process is killed, each call that was answered counts, and once.
func TestKilled(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	var answered int64
	const rounds = 6
	for round := range rounds {
		counting := exec.Command(os.Args[0])
		counting.Env = append(os.Environ(), crashFolder+"="+folder)
		counting.Stderr = t.Output()
		out, err := counting.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := counting.Start(); err != nil {
			t.Fatal(err)
		}
		// At another time of the second in which batches are written, each round.
		after := time.AfterFunc(time.Duration(round+1)*370*time.Millisecond, func() { _ = counting.Process.Kill() })
		n, err := io.Copy(io.Discard, out)
		after.Stop()
		_ = counting.Wait()
		if counting.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL || err != nil {
			t.Fatalf("the process ended with %v (%v) before it was killed", counting.ProcessState, err)
		}
		answered += n
	}
	m, _ := running(t, folder, time.Now, rules())
	r, err := m.Report(t.Context(), ledger.Query{From: time.Unix(0, 0), To: time.Now().Add(time.Hour)})
	if err != nil || len(r.Lines) != 1 {
		t.Fatalf("got %v, %v", r.Lines, err)
	}
	// The last call of each caller may have been counted, and not answered yet.
	if got := r.Lines[0].Calls; got < answered || got > answered+rounds*callers || answered < 1000 {
		t.Errorf("got %d calls, want %d, or up to %d more", got, answered, rounds*callers)
	}
}

// A batch of which nobody knows whether it was written, for the process was killed
// meanwhile, counts once either way.
func TestKilledBetweenDatabaseAndFile(t *testing.T) {
	t.Parallel()
	for _, written := range []bool{false, true} {
		folder := t.TempDir()
		m := New(Options{Folder: folder, Log: slog.New(slog.DiscardHandler)})
		if err := m.Apply(rules()); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			_ = call(m)
		}
		m.seal()
		if err := m.spool.fill(); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			_ = call(m) // of the next batch
		}
		if written {
			if err := m.store.Write(t.Context(), ledger.Batch{Writer: m.name, Sequence: m.head.sequence, Entries: m.head.entries}); err != nil {
				t.Fatal(err)
			}
		}
		m.store.Close()
		for range 2 { // and once more: nothing comes again
			again, stop := running(t, folder, time.Now, rules())
			if got := report(t, again); !strings.HasPrefix(got, "[15 ") {
				t.Errorf("written %v: got %s, want 15 calls", written, got)
			}
			stop()
		}
	}
}

// Where a record is not whole the file ends, and all before it counts.
func TestTornFile(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	m := New(Options{Folder: folder, Log: slog.New(slog.DiscardHandler)})
	if err := m.Apply(rules()); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		_ = call(m)
	}
	file := m.open.files[0]
	last := file.used - 1
	m.store.Close()
	file.data[last] ^= 1 // of the tenth
	for name, content := range map[string]string{"empty": "", "short" + unfinished: "x", "noise": strings.Repeat("mcpusage\xff", 1000)} {
		if err := os.WriteFile(filepath.Join(folder, spoolName+name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again, stop := running(t, folder, time.Now, rules())
	if got := report(t, again); !strings.HasPrefix(got, "[9 ") {
		t.Errorf("got %s, want 9 calls", got)
	}
	stop()
	if left, err := filepath.Glob(filepath.Join(folder, spoolName+"*")); err != nil || len(left) > 0 {
		t.Errorf("got %v, %v, want no spool file left", left, err)
	}
}

// Files that became one, of which some were not removed, count once.
func TestKilledWhileShrinking(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	m := New(Options{Folder: folder, Log: slog.New(slog.DiscardHandler)})
	if err := m.Apply(rules()); err != nil {
		t.Fatal(err)
	}
	defer m.store.Close()
	for i := range fewEntries + 1 { // too many to be summed up at once
		_ = call(m, func(c *telemetry.Call) { c.Caller.Subject = fmt.Sprint("key:", i) })
	}
	for i := range maxFiles {
		if err := m.spool.fill(); err != nil {
			t.Fatal(err)
		}
		m.mu.Lock()
		m.anotherLocked()
		m.mu.Unlock()
		for range i + 1 {
			_ = call(m)
		}
	}
	kept := map[string][]byte{}
	for _, file := range m.open.files {
		kept[file.path] = append([]byte{}, file.data...)
	}
	if err := m.spool.fill(); err != nil {
		t.Fatal(err)
	}
	m.shrink()
	_ = call(m)
	const want = maxFiles*(maxFiles+1)/2 + fewEntries + 2
	for path, content := range kept { // as if none had been removed
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	left, err := m.spool.remnants()
	if err != nil {
		t.Fatal(err)
	}
	var calls int64
	for _, amounts := range (&Meter{writing: &writing{left: left}}).unwritten() {
		calls += amounts.Calls
	}
	if calls != want {
		t.Errorf("got %d calls before they are in the ledger, want %d", calls, want)
	}
	again, _ := running(t, folder, time.Now, rules())
	if got := report(t, again); !strings.HasPrefix(got, fmt.Sprintf("[%d ", want)) {
		t.Errorf("got %s, want %d calls", got, want)
	}
}

func FuzzParse(f *testing.F) {
	k := ledger.Key{Hour: 1, Project: "p", Tool: "t"}
	record := encode(nil, k, ledger.Amounts{Calls: 1, EgressReceived: -1})
	f.Add(append(header("w", 1, 2), record...))
	f.Add(record)
	f.Fuzz(func(t *testing.T, content []byte) {
		_, _ = parse(content)
		if got, amounts, err := decode(content); err == nil {
			again, same, err := decode(encode(nil, got, amounts))
			if err != nil || again != got || same != amounts {
				t.Errorf("got %v %v, %v, want %v %v", again, same, err, got, amounts)
			}
		}
	})
}
