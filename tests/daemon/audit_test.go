package daemon_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/policy"
	"mcpgateway/policy/audit"
	"mcpgateway/policy/chain"
	"mcpgateway/policy/verify"
	"mcpgateway/runtime/control"
	"mcpgateway/runtime/logbook"
	"mcpgateway/runtime/peer"
	"mcpgateway/tests/hostids"
)

// auditor is a proxy that does nothing but audit.
type auditor struct {
	*peer.Client
	*audit.Log
	applied chan uint64
	stop    func() // it ends as a proxy does
	kill    func() // or is killed: the last records are in no checkpoint
}

type keeper struct{ *peer.Client }

func (k keeper) Checkpoint(ctx context.Context, head chain.Head) (chain.Head, error) {
	signed, err := k.Client.Checkpoint(ctx, head.Sequence, head.Hash)
	return chain.Head(signed), err
}

func (k keeper) Rotate(ctx context.Context, head chain.Head) (audit.Handover, error) {
	log, file, err := k.Client.Rotate(ctx, head.Sequence, head.Hash)
	return audit.Handover{File: file, Number: log.Number, Chain: log.Chain, After: (*chain.Head)(log.After)}, err
}

func (g *gateway) auditor(t *testing.T) *auditor {
	t.Helper()
	a := &auditor{applied: make(chan uint64, 16)}
	var next audit.Handover
	notices := peer.Notices{
		Audit: func(log control.Log, file *os.File) {
			next = audit.Handover{File: file, Number: log.Number, Chain: log.Chain, After: (*chain.Head)(log.After)}
		},
		Policy: func(generation uint64, document []byte) error {
			var p policy.Policy
			if err := json.Unmarshal(document, &p); err != nil {
				return err
			}
			a.Apply(p.Audit, next)
			next = audit.Handover{}
			a.applied <- generation
			return nil
		},
		Recorded: func(line string) { a.Mirror(line) },
	}
	var err error
	hostids.As(proxyUID, func() { a.Client, err = peer.Dial(t.Context(), g.socket, notices) })
	if err != nil {
		t.Fatal(err)
	}
	a.Log = audit.New(keeper{a.Client}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	connected, disconnect := context.WithCancel(context.Background())
	auditing, finish := context.WithCancel(context.Background())
	running, written := make(chan error, 1), make(chan error, 1)
	go func() { running <- a.Client.Run(connected) }()
	go func() { written <- a.Log.Run(auditing) }()
	ended := false
	end := func(first, second func(), firstDone, secondDone chan error) {
		if !ended {
			ended = true
			first()
			<-firstDone
			second()
			<-secondDone
		}
	}
	a.stop = func() { end(finish, disconnect, written, running) }
	a.kill = func() { end(disconnect, finish, running, written) }
	t.Cleanup(a.stop)
	within(t, a.applied)
	return a
}

func (a *auditor) write(t *testing.T, r audit.Record) {
	t.Helper()
	slot, err := a.Reserve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slot.Write(&r)
}

func auditing(file, more string) string {
	return strings.Replace(servers, "{name: test", "{name: test"+unwatched, 1) + fmt.Sprintf("audit: {enabled: true, file: %s%s}\n", file, more)
}

// fresh is a folder that the tests before have not used, nor this one.
func fresh(t *testing.T) string {
	t.Helper()
	own, err := os.MkdirTemp(dir, "audit-")
	if err == nil {
		err = os.Chmod(own, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return own
}

// verified verifies the logs beside file and returns the report.
func verified(t *testing.T, own, file string) *verify.Report {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(own, logbook.PublicFile))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	heads, err := logbook.ReadHeads(own)
	if err != nil {
		t.Fatal(err)
	}
	in := verify.Input{
		Key: key.(ed25519.PublicKey), CallsHead: heads.Calls.Head, DaemonHead: heads.Own.Head,
		Calls: withBackups(t, file), Daemon: withBackups(t, logbook.OwnFile(file)),
	}
	report, err := verify.Check(in)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// moved is what a file of another log is called now.
func moved(t *testing.T, file string) string {
	t.Helper()
	found, err := filepath.Glob(file + ".*")
	if err != nil || len(found) != 1 {
		t.Fatalf("got %q, %v, want one file", found, err)
	}
	return found[0]
}

// wantBegun waits until records are written to a file: whoever writes them learns of it
// beside the reload that says so, and what it is given before that belongs to the one before.
func wantBegun(t *testing.T, file string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for events(t, file)[chain.EventOpened] == 0 {
		if ctx.Err() != nil {
			t.Fatalf("%s has no first record", file)
		}
		runtime.Gosched()
	}
}

func withBackups(t *testing.T, file string) (files []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, ok := logbook.BackupTime(filepath.Base(file), e.Name()); ok {
			files = append(files, filepath.Join(filepath.Dir(file), e.Name()))
		}
	}
	slices.Sort(files)
	return append(files, file)
}

func wantGood(t *testing.T, r *verify.Report) {
	t.Helper()
	for _, p := range r.Problems {
		t.Error(p)
	}
	for _, n := range r.Notes {
		t.Log("note:", n)
	}
}

// events are those of the records in a file and its backups, and counts them.
func events(t *testing.T, file string) map[string]int {
	t.Helper()
	found := map[string]int{}
	for _, path := range withBackups(t, file) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			var one struct{ Event string }
			if json.Unmarshal(line, &one) == nil {
				found[one.Event]++
			}
		}
	}
	return found
}

// TestAuditLog has a proxy and the daemon write both logs, and verifies them.
func TestAuditLog(t *testing.T) {
	own := fresh(t)
	file := filepath.Join(own, "log", "audit.log")
	g := startIn(t, own, auditing(file, ""))
	a := g.auditor(t)
	for range 100 {
		a.write(t, audit.Record{Event: audit.EventCall, Name: "a\nb", Arguments: []byte(`{"a":1}`)})
	}
	opened, err := a.Open(t.Context(), "false", "")
	if err != nil {
		t.Fatal(err)
	}
	opened.Close()
	admin := g.connect(t, 0)
	if err := os.WriteFile(g.config, []byte("nonsense: 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := admin.Reload(t.Context()); code(err) != control.CodeReload {
		t.Fatalf("got %v, want a refusal", err)
	}
	next := filepath.Join(own, "log", "other.log")
	if err := os.WriteFile(g.config, []byte(auditing(next, ", on_full: drop")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := admin.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantBegun(t, next)
	for range 50 {
		a.write(t, audit.Record{Event: audit.EventDenied})
	}
	// And back to where it was, which is not empty.
	if err := os.WriteFile(g.config, []byte(auditing(file, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := admin.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantBegun(t, file)
	a.write(t, audit.Record{Event: "back"})
	a.stop()
	g.stop()
	if err := <-g.ended; err != nil {
		t.Fatal(err)
	}
	g.ended <- nil // for the cleanup
	wantGood(t, verified(t, own, file))
	if back := events(t, file); back["back"] != 1 || back[audit.EventCall] != 0 {
		t.Errorf("got %v, want a new file", back)
	}
	file = moved(t, file)
	if first, second := events(t, file), events(t, next); first[audit.EventCall] != 100 || second[audit.EventDenied] != 50 || first[audit.EventDenied]+second[audit.EventCall] != 0 {
		t.Errorf("got %v and %v, want 100 calls and 50 denied", first, second)
	}
	recorded := events(t, moved(t, filepath.Join(own, "log", "audit-daemon.log")))
	for _, other := range []string{next, filepath.Join(own, "log", "audit.log")} {
		for event, n := range events(t, logbook.OwnFile(other)) {
			recorded[event] += n
		}
	}
	for event, want := range map[string]int{
		"configuration-applied": 3, "configuration-refused": 1, "proxy-connected": 1, "sandbox-started": 1, "sandbox-ended": 1, "administrator": 3,
	} {
		if recorded[event] != want {
			t.Errorf("%s: got %d records, want %d: %v", event, recorded[event], want, recorded)
		}
	}
	for path, want := range map[string]os.FileMode{file: 0o600, logbook.OwnFile(next): 0o600, filepath.Join(own, logbook.KeyFile): 0o600, filepath.Join(own, logbook.HeadsFile): 0o644} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: got %v, %v, want %v", path, info, err, want)
		}
	}
}

// outliving is a proxy that does nothing but audit, and outlives its daemons.
type outliving struct {
	*audit.Log
	applied chan uint64
	calls   int
	end     func() // as a proxy does
}

func (g *gateway) outliving(t *testing.T) *outliving {
	t.Helper()
	o := &outliving{applied: make(chan uint64, 16)}
	var next audit.Handover
	link := peer.NewLink(g.socket, peer.Notices{
		Audit: func(log control.Log, file *os.File) {
			next = audit.Handover{File: file, Number: log.Number, Chain: log.Chain, After: (*chain.Head)(log.After)}
		},
		Policy: func(generation uint64, document []byte) error {
			var p policy.Policy
			if err := json.Unmarshal(document, &p); err != nil {
				return err
			}
			o.Apply(p.Audit, next)
			next = audit.Handover{}
			o.applied <- generation
			return nil
		},
	}, func(error) {})
	o.Log = audit.New(linked{link}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	connected, disconnect := context.WithCancel(context.Background())
	auditing, finish := context.WithCancel(context.Background())
	running, written := make(chan error, 1), make(chan error, 1)
	go hostids.As(proxyUID, func() { running <- link.Run(connected) })
	go func() { written <- o.Run(auditing) }()
	o.end = func() {
		finish()
		<-written
		disconnect()
		<-running
	}
	return o
}

// call writes records, and waits until a file has all of them.
func (o *outliving) call(t *testing.T, file string, n int) {
	t.Helper()
	for range n {
		(&auditor{Log: o.Log}).write(t, audit.Record{Event: audit.EventCall})
	}
	o.calls += n
	for until := time.Now().Add(30 * time.Second); events(t, file)[audit.EventCall] < o.calls; soon() {
		if time.Now().After(until) {
			t.Fatalf("got %d of %d records", events(t, file)[audit.EventCall], o.calls)
		}
	}
}

// opens waits until so many chains, or files, have begun: what is queued before goes where
// the log was.
func (o *outliving) opens(t *testing.T, file string, n int) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); events(t, file)[chain.EventOpened] < n; soon() {
		if time.Now().After(until) {
			t.Fatalf("got %v, want %d to have begun", events(t, file), n)
		}
	}
}

// leave ends the daemon.
func (g *gateway) leave(t *testing.T) {
	t.Helper()
	g.stop()
	if err := <-g.ended; err != nil {
		t.Fatal(err)
	}
	g.ended <- nil // for the cleanup
}

// TestAuditOutlivesDaemons has one proxy audit under several daemons, and while there is
// none.
func TestAuditOutlivesDaemons(t *testing.T) {
	own := fresh(t)
	file := filepath.Join(own, "log", "audit.log")
	config := auditing(file, ", sync: always")
	g := startIn(t, own, config)
	o := g.outliving(t)
	for range 3 {
		if generation := within(t, o.applied); generation != 1 {
			t.Errorf("got generation %d of a new daemon", generation)
		}
		o.call(t, file, 20)
		g.leave(t)
		o.call(t, file, 5) // into the file of the daemon that was
		wantGood(t, verified(t, own, file))
		g = startIn(t, own, config)
	}
	within(t, o.applied)
	o.call(t, file, 1)
	o.end()
	r := verified(t, own, file)
	wantGood(t, r)
	for _, n := range r.Notes {
		t.Errorf("at the end there is nothing to note: %s", n)
	}
	if opened := events(t, file)[chain.EventOpened]; opened != 4 {
		t.Errorf("got %d chains, want 4, in one file: %v", opened, withBackups(t, file))
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// What the second daemon's signatures vouch for was written before it came.
	lines := bytes.SplitAfter(text, []byte("\n"))
	if err := os.WriteFile(file, bytes.Join(slices.Delete(lines, 23, 24), nil), 0o600); err != nil {
		t.Fatal(err)
	}
	if verified(t, own, file).Good() {
		t.Error("a record was removed that was written without a daemon, and nothing is missed")
	}
}

// TestAuditOfADaemonWithAnotherFile has the next daemon keep the log elsewhere, and another
// not at all.
func TestAuditOfADaemonWithAnotherFile(t *testing.T) {
	own := fresh(t)
	first, second := filepath.Join(own, "log", "audit.log"), filepath.Join(own, "log", "other.log")
	g := startIn(t, own, auditing(first, ""))
	o := g.outliving(t)
	within(t, o.applied)
	o.call(t, first, 20)
	g.leave(t)
	o.call(t, first, 5)
	g = startIn(t, own, auditing(second, ""))
	within(t, o.applied)
	o.calls = 0
	o.opens(t, second, 1)
	o.call(t, second, 10)
	g.leave(t)
	g = startIn(t, own, servers)
	within(t, o.applied)
	if slot, err := o.Reserve(t.Context()); err != nil || slot != (audit.Slot{}) {
		t.Errorf("got %+v, %v, want that nothing is recorded", slot, err)
	}
	g.leave(t)
	startIn(t, own, auditing(second, ""))
	within(t, o.applied)
	o.opens(t, second, 2)
	o.call(t, second, 3)
	o.end()
	wantGood(t, verified(t, own, second))
	if got := events(t, first)[audit.EventCall]; got != 25 {
		t.Errorf("got %d records in the first file, want 25", got)
	}
}

// linked is the daemon of the moment.
type linked struct{ *peer.Link }

func (k linked) Checkpoint(ctx context.Context, head chain.Head) (chain.Head, error) {
	signed, err := k.Link.Checkpoint(ctx, head.Chain, head.Sequence, head.Hash)
	return chain.Head(signed), err
}

func (k linked) Rotate(ctx context.Context, head chain.Head) (audit.Handover, error) {
	log, file, err := k.Link.Rotate(ctx, head.Chain, head.Sequence, head.Hash)
	return audit.Handover{File: file, Number: log.Number, Chain: log.Chain, After: (*chain.Head)(log.After)}, err
}

// TestAuditRotation has files put aside and deleted, and proxies end in both ways.
func TestAuditRotation(t *testing.T) {
	own := fresh(t)
	file := filepath.Join(own, "log", "audit.log")
	g := startIn(t, own, auditing(file, ", max_size_mb: 1, max_backups: 2"))
	reason := strings.Repeat("x", 1000)
	for i := range 4 {
		a, before := g.auditor(t), events(t, logbook.OwnFile(file))[chain.EventRotated]
		for range 1500 {
			a.write(t, audit.Record{Event: audit.EventCall, Reason: reason})
		}
		for deadline := time.Now().Add(30 * time.Second); events(t, logbook.OwnFile(file))[chain.EventRotated] <= before; soon() {
			if time.Now().After(deadline) {
				t.Fatalf("no file was put aside in round %d", i)
			}
		}
		if i%2 == 0 {
			a.stop()
		} else {
			a.kill()
		}
	}
	a := g.auditor(t)
	a.write(t, audit.Record{Event: audit.EventCall})
	a.stop()
	if files := withBackups(t, file); len(files) != 3 {
		t.Errorf("got %q, want two backups", files)
	}
	r := verified(t, own, file)
	wantGood(t, r)
	if recorded := events(t, logbook.OwnFile(file)); recorded[chain.EventRotated] < 4 || recorded[chain.EventDeleted] != recorded[chain.EventRotated]-2 {
		t.Errorf("got %v, want rotations and deletions", recorded)
	}
	oldest := withBackups(t, file)[0]
	if err := os.Rename(oldest, oldest+".gone"); err != nil {
		t.Fatal(err)
	}
	if r := verified(t, own, file); r.Good() {
		t.Error("a backup was removed, and nothing was found")
	}
}

// TestAuditRefuses tries what a captured proxy may.
func TestAuditRefuses(t *testing.T) {
	own := fresh(t)
	file := filepath.Join(own, "log", "audit.log")
	g := startIn(t, own, auditing(file, ""))
	a := g.auditor(t)
	hash := strings.Repeat("ab", 32)
	if _, err := a.Checkpoint(t.Context(), 10, hash); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		sequence uint64
		hash     string
	}{{"back", 9, hash}, {"another hash", 10, strings.Repeat("cd", 32)}, {"zero", 0, hash}, {"no hash", 11, "x"}, {"upper case", 11, strings.Repeat("AB", 32)}} {
		if _, err := a.Checkpoint(t.Context(), tt.sequence, tt.hash); code(err) != control.CodeRefused {
			t.Errorf("%s: got %v, want a refusal", tt.name, err)
		}
	}
	if _, file, err := a.Rotate(t.Context(), 11, hash); code(err) != control.CodeRefused {
		t.Errorf("got %v, %v, want no rotation of a small file", file, err)
	}
	tooOften := false
	for n := range uint64(100) {
		_, err := a.Checkpoint(t.Context(), 20+n, hash)
		tooOften = tooOften || code(err) == control.CodeRefused
	}
	if !tooOften {
		t.Error("a hundred heads were signed at once")
	}
	if events(t, logbook.OwnFile(file))["checkpoint-refused"] != 3 {
		t.Errorf("got %v, want three refusals", events(t, logbook.OwnFile(file)))
	}
}

// TestAuditDescriptor: what the proxy gets can be appended to, and nothing else.
func TestAuditDescriptor(t *testing.T) {
	own := fresh(t)
	path := filepath.Join(own, "log", "audit.log")
	g := startIn(t, own, auditing(path, ""))
	files := make(chan *os.File, 1)
	var client *peer.Client
	var err error
	hostids.As(proxyUID, func() {
		client, err = peer.Dial(t.Context(), g.socket, peer.Notices{
			Audit:  func(_ control.Log, file *os.File) { files <- file },
			Policy: func(uint64, []byte) error { return nil },
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = client.Run(t.Context()) }()
	file := within(t, files)
	defer file.Close()
	if _, err := file.WriteString("first\n"); err != nil {
		t.Fatal(err)
	}
	_, seekErr := unix.Pwrite(int(file.Fd()), []byte("x"), 0)
	_, readErr := file.ReadAt(make([]byte, 1), 0)
	if text, err := os.ReadFile(path); err != nil || string(text) != "first\nx" || seekErr != nil {
		t.Errorf("got %q, %v, %v, want all at the end", text, err, seekErr)
	}
	if readErr == nil {
		t.Error("it can be read")
	}
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	for _, to := range []int64{0, 1 << 20} {
		if errno != 0 || abi < 3 {
			t.Log("this kernel can't keep a descriptor from truncating")
			break
		}
		if err := file.Truncate(to); err == nil {
			t.Errorf("it can be truncated to %d", to)
		}
	}
	hostids.As(proxyUID, func() {
		_, err = os.OpenFile(fmt.Sprintf("/proc/self/task/%d/fd/%d", unix.Gettid(), file.Fd()), os.O_RDWR, 0)
	})
	if err == nil {
		t.Error("it can be opened anew for writing anywhere")
	}
}

// TestAuditFolder refuses places where others could put files.
func TestAuditFolder(t *testing.T) {
	own := fresh(t)
	tests := []struct {
		name string
		make func(dir, file string) error
		want string
	}{
		{"folder of others", func(dir, _ string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 1, 1)) }, "others may write to it"},
		{"open folder", func(dir, _ string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777)) }, "others may write to it"},
		{"linked folder", func(dir, _ string) error { return os.Symlink(own, dir) }, "not a directory"},
		{"linked file", func(dir, file string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.Symlink("/etc/passwd", file))
		}, "too many levels"},
		{"second name", func(dir, file string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(dir+"/a", nil, 0o600), os.Link(dir+"/a", file))
		}, "under one name"},
		{"pipe", func(dir, file string) error { return errors.Join(os.Mkdir(dir, 0o700), unix.Mkfifo(file, 0o600)) }, "no such device"},
	}
	g := startIn(t, own, servers)
	admin := g.connect(t, 0)
	for i, tt := range tests {
		dir := filepath.Join(own, fmt.Sprint(i))
		if err := tt.make(dir, filepath.Join(dir, "audit.log")); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(g.config, []byte(auditing(filepath.Join(dir, "audit.log"), "")), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := admin.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
}

// TestAuditFullDisk fills a real disk.
func TestAuditFullDisk(t *testing.T) {
	for _, rule := range []policy.OnFull{policy.OnFullBlock, policy.OnFullDrop} {
		t.Run(string(rule), func(t *testing.T) {
			own := fresh(t)
			disk := filepath.Join(own, "log")
			if err := os.MkdirAll(disk, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=32m,mode=0700"); err != nil {
				t.Fatalf("mount a small disk: %v", err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
			ballast := filepath.Join(disk, "ballast")
			if err := os.WriteFile(ballast, make([]byte, 31<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(disk, "audit.log")
			g := startIn(t, own, auditing(file, ", on_full: "+string(rule)))
			a := g.auditor(t)
			if rule == policy.OnFullBlock {
				fillAndBlock(t, a, ballast, file)
			} else {
				fillAndDrop(t, a, ballast, file)
			}
			a.stop()
			wantGood(t, verified(t, own, file))
		})
	}
}

// fillAndBlock: no call is let in while the disk is full, and none that was let in
// is missing afterwards.
func fillAndBlock(t *testing.T, a *auditor, ballast, file string) {
	n, late := 0, 0
	underWay, err := a.Reserve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; n++ {
		slot, err := a.Reserve(t.Context())
		if errors.Is(err, audit.ErrBlocked) {
			break
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("got %v after %d records, want a full disk", err, n)
		}
		slot.Write(&audit.Record{Event: audit.EventCall, Reason: strings.Repeat("x", 900)})
	}
	underWay.Write(&audit.Record{Event: "late"})
	late++
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		slot, err := a.Reserve(t.Context())
		if err == nil {
			slot.Write(&audit.Record{Event: "late"})
			late++
			break
		}
		if !errors.Is(err, audit.ErrBlocked) || time.Now().After(deadline) {
			t.Fatalf("got %v, want it to be written again", err)
		}
		soon()
	}
	a.stop()
	if got := events(t, file); got[audit.EventCall] != n || got["late"] != late || got[chain.EventGap] != 0 {
		t.Errorf("got %v, want %d calls and %d late ones", got, n, late)
	}
}

// soon waits a little, before another look at what tells nobody when it changes: a
// file or a disk.
func soon() { <-time.After(5 * time.Millisecond) }

func full(t *testing.T, disk string) bool {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(disk, &st); err != nil {
		t.Fatal(err)
	}
	return st.Bavail == 0
}

// fillAndDrop: calls go on, and how many records are missing is recorded.
func fillAndDrop(t *testing.T, a *auditor, ballast, file string) {
	const n = 12000 // so many are never waiting at once: a part is lost before the disk has room
	for i := range n {
		a.write(t, audit.Record{Event: audit.EventCall, Reason: strings.Repeat("x", 900)})
		for i == n/4 && !full(t, filepath.Dir(file)) {
			soon()
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); events(t, file)[chain.EventGap] == 0; {
		if time.Now().After(deadline) {
			t.Fatal("no gap was recorded")
		}
		a.write(t, audit.Record{Event: "late"})
		soon()
	}
	a.stop()
	if got := events(t, file)[audit.EventCall]; got == 0 || got >= n {
		t.Errorf("got %d of %d records, want some lost", got, n)
	}
}

// The daemon speaks no network protocol: the proxy sends the daemon's records for it.
func TestAuditIsSentOn(t *testing.T) {
	own := fresh(t)
	socket := filepath.Join(own, "log.sock")
	receiver, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	g := startIn(t, own, auditing(filepath.Join(own, "log", "audit.log"), fmt.Sprintf(", syslog: {address: %q}", "unix://"+socket)))
	a := g.auditor(t)
	a.write(t, audit.Record{Event: audit.EventCall, Name: "mine"}) // once this is sent, the log is where it is to be
	wantSent(t, receiver, `"name":"mine"`)
	if err := g.connect(t, 0).Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantSent(t, receiver, `"event":"administrator"`)
}

// wantSent waits for a message that has a text in it.
func wantSent(t *testing.T, receiver *net.UnixConn, text string) {
	t.Helper()
	if err := receiver.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 64<<10)
	for {
		n, err := receiver.Read(buffer)
		if err != nil {
			t.Fatalf("nothing with %s was sent: %v", text, err)
		}
		if strings.Contains(string(buffer[:n]), text) {
			return
		}
	}
}
