package logbook

import (
	"crypto/ed25519"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mcpgateway/policy/chain"
	"mcpgateway/policy/verify"
)

// open returns a book in use, and its settings.
func open(t *testing.T, state string, s Settings) *Book {
	t.Helper()
	b := New(state, func([]byte) {})
	if err := b.Prepare(s); err != nil {
		t.Fatal(err)
	}
	if err := b.Use(); err != nil {
		t.Fatal(err)
	}
	return b
}

// own are the daemon's files, the oldest first.
func own(t *testing.T, file string) (files []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(file)) // sorted
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(OwnFile(file))
	for _, e := range entries {
		if _, ok := BackupTime(name, e.Name()); ok {
			files = append(files, filepath.Join(filepath.Dir(file), e.Name()))
		}
	}
	return append(files, OwnFile(file))
}

func report(t *testing.T, state, file string) *verify.Report {
	t.Helper()
	key, err := loadKey(state)
	if err != nil {
		t.Fatal(err)
	}
	heads, err := ReadHeads(state)
	if err != nil {
		t.Fatal(err)
	}
	r, err := verify.Check(verify.Input{Daemon: own(t, file), Key: key.Public().(ed25519.PublicKey), DaemonHead: heads.Own.Head})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestOwnRecords rotates, starts anew, and verifies.
func TestOwnRecords(t *testing.T) {
	t.Parallel()
	state, file := t.TempDir(), filepath.Join(t.TempDir(), "log", "audit.log")
	s := Settings{File: file, MaxSize: 4096, MaxBackups: 2}
	for range 3 {
		b := open(t, state, s)
		for range 60 {
			b.Record("something", "text", strings.Repeat("x", 50), "number", 7)
		}
		b.Close()
	}
	if files := own(t, file); len(files) != 3 {
		t.Errorf("got %q, want two backups", files)
	}
	if r := report(t, state, file); !r.Good() || r.Records < 20 {
		t.Errorf("got %d records, problems %v", r.Records, r.Problems)
	}
	// A crash: no signature of the last records, and half a one.
	b := open(t, state, s)
	b.Record("last")
	b.mu.Lock()
	_, err := b.file.WriteString(`{"seq":9,"prev":"00`)
	b.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	b = open(t, state, s)
	b.Close()
	if r := report(t, state, file); !r.Good() || len(r.Notes) == 0 {
		t.Errorf("got problems %v, notes %v", r.Problems, r.Notes)
	}
}

func TestRefusedIsBounded(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "log", "audit.log")
	b := open(t, t.TempDir(), Settings{File: file, MaxSize: 1 << 20})
	for range 1000 {
		b.Refused("refused")
	}
	b.Close()
	text, err := os.ReadFile(OwnFile(file))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), `"event":"refused"`); n < refusedBurst || n > refusedBurst+5 {
		t.Errorf("got %d records, want about %d", n, refusedBurst)
	}
}

// A captured proxy that asks for what was signed already, again and again, does not
// rotate the daemon's own records away.
func TestRefusedCheckpointsAreBounded(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "log", "audit.log")
	b := open(t, t.TempDir(), Settings{File: file, MaxSize: 1 << 20})
	id, err := b.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if _, err := b.Checkpoint(chain.Head{Chain: id, Hash: strings.Repeat("0", 64)}); err == nil {
			t.Fatal("signed record 0")
		}
	}
	b.Close()
	text, err := os.ReadFile(OwnFile(file))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), `"event":"checkpoint-refused"`); n < refusedBurst || n > refusedBurst+5 {
		t.Errorf("got %d records, want about %d", n, refusedBurst)
	}
}

func TestOffDoesNothing(t *testing.T) {
	t.Parallel()
	b := New(filepath.Join(t.TempDir(), "none"), func([]byte) {})
	b.Record("a")
	if err := b.Prepare(Settings{}); err != nil {
		t.Fatal(err)
	}
	if err := b.Use(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Checkpoint(chain.Head{Sequence: 1}); err == nil {
		t.Error("signed without a key")
	}
	if _, err := b.Begin(true); err != nil {
		t.Error(err)
	}
	b.Close()
}

func TestKeyFile(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	first, err := loadKey(state)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := loadKey(state); err != nil || !first.Equal(again) {
		t.Errorf("got another key, %v", err)
	}
	path := filepath.Join(state, KeyFile)
	for _, tt := range []struct {
		name  string
		alter func() error
	}{
		{"readable", func() error { return os.Chmod(path, 0o644) }},
		{"no key", func() error { return os.WriteFile(path, []byte("x"), 0o600) }},
	} {
		if err := tt.alter(); err != nil {
			t.Fatal(err)
		}
		if _, err := loadKey(state); err == nil {
			t.Errorf("%s: got a key", tt.name)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBackupTime(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"audit-20261128T192234.266848206Z.log":        true,
		"audit-20261128T192234.26684820Z.log":         false,
		"audit-daemon-20261128T192234.266848206Z.log": false,
		"audit-daemon.log":                            false,
		"audit.log":                                   false,
		"audit-20261128T192234.266848206Z.log.gone":   false,
	} {
		if _, got := BackupTime("audit.log", name); got != want {
			t.Errorf("%s: got %t, want %t", name, got, want)
		}
	}
}

func TestHeadsSurviveJSON(t *testing.T) {
	t.Parallel()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signed := chain.Head{Chain: "a", Sequence: 1<<63 + 1, Hash: "b"}.Sign(key, time.Now())
	text, err := json.Marshal(signed)
	if err != nil {
		t.Fatal(err)
	}
	var got chain.Head
	if err := json.Unmarshal(text, &got); err != nil || !got.SignedBy(key.Public().(ed25519.PublicKey)) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, alter := range []func(*chain.Head){
		func(h *chain.Head) { h.Chain = "c" }, func(h *chain.Head) { h.Sequence++ }, func(h *chain.Head) { h.Hash = "c" },
		func(h *chain.Head) { h.Time = h.Time.Add(1) }, func(h *chain.Head) { h.Signature = "" },
	} {
		other := got
		if alter(&other); other.SignedBy(key.Public().(ed25519.PublicKey)) {
			t.Errorf("%+v is still signed", other)
		}
	}
}
