package ledger

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mcpgateway/proxy/ledgertest"
)

// opened is a database that can be opened again and again.
type opened func(t *testing.T) *Store

// TestStore runs the same tests against both databases, each with a ledger of its own.
func TestStore(t *testing.T) {
	t.Parallel()
	server := ledgertest.NewPostgres(t)
	for _, test := range []struct {
		name string
		run  func(t *testing.T, open opened)
	}{
		{"sums", testSums}, {"amounts", testAmounts}, {"batches count once", testBatchesCountOnce}, {"hostile names", testHostileNames},
		{"cut", testCut}, {"lease", testLease}, {"forget", testForget}, {"newer ledger", testNewerLedger},
	} {
		t.Run(test.name, func(t *testing.T) { everyStore(t, server, test.run) })
	}
	// SQLite is one proxy's.
	t.Run("gateways together", func(t *testing.T) { testGatewaysTogether(t, onPostgres(t, server)) })
}

// onPostgres opens a new database of a server.
func onPostgres(t *testing.T, server *ledgertest.Postgres) opened {
	t.Helper()
	url := server.Database(t)
	return func(t *testing.T) *Store {
		t.Helper()
		s, err := OpenPostgres(url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
}

func everyStore(t *testing.T, server *ledgertest.Postgres, test func(t *testing.T, open opened)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		folder := t.TempDir()
		test(t, func(t *testing.T) *Store {
			t.Helper()
			s, err := OpenSQLite(t.Context(), folder)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return s
		})
	})
	t.Run("postgres", func(t *testing.T) { test(t, onPostgres(t, server)) })
}

const hour = 1_790_002_800 // some hour

func key(project, tool, identity string) Key {
	return Key{Hour: hour, Project: project, Server: "files", Method: "tools/call", Tool: tool, Identity: identity}
}

func write(t *testing.T, s *Store, b Batch) {
	t.Helper()
	if err := s.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

func all(by ...string) Query {
	return Query{From: time.Unix(hour-1000*3600, 0), To: time.Unix(hour+1000*3600, 0), By: by}
}

// answer is what a store says to a query, as text.
func answer(t *testing.T, s *Store, q Query) string {
	t.Helper()
	entries, err := s.Sums(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := Answer(q, entries)
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, line := range lines {
		text = append(text, fmt.Sprintf("%s=%d", strings.Join(line.By, "/"), line.Calls))
	}
	return strings.Join(text, " ")
}

func testSums(t *testing.T, open opened) {
	s := open(t)
	later := key("acme", "read", "key:1")
	later.Hour += 24 * 3600
	write(t, s, Batch{Writer: "w", Sequence: 1, Entries: Entries{
		key("acme", "read", "key:1"): {Calls: 2}, key("acme", "write", "key:1"): {Calls: 3}, key("other", "read", "key:2"): {Calls: 5},
	}})
	write(t, s, Batch{Writer: "w", Sequence: 2, Entries: Entries{key("acme", "read", "key:1"): {Calls: 10}, later: {Calls: 100}}})
	with := func(change func(*Query), by ...string) Query {
		q := all(by...)
		change(&q)
		return q
	}
	tests := []struct {
		name string
		ask  Query
		want string
	}{
		{"in all", all(), "=120"},
		{"by project", all("project"), "acme=115 other=5"},
		{"by several", all("tool", "project"), "read/acme=112 read/other=5 write/acme=3"},
		{"by hour", all("hour"), "2026-09-21T15:00:00Z=20 2026-09-22T15:00:00Z=100"},
		{"by day", all("day"), "2026-09-21=20 2026-09-22=100"},
		{"by day and hour", all("day", "hour"), "2026-09-21/2026-09-21T15:00:00Z=20 2026-09-22/2026-09-22T15:00:00Z=100"},
		{"of a project", with(func(q *Query) { q.Project = "other" }), "=5"},
		{"of an identity", with(func(q *Query) { q.Identity = "key:1" }, "identity"), "key:1=115"},
		{"of nobody", with(func(q *Query) { q.Server = "none" }), ""},
		{"until", with(func(q *Query) { q.To = time.Unix(later.Hour, 0) }), "=20"},
		{"from", with(func(q *Query) { q.From = time.Unix(later.Hour, 0) }), "=100"},
	}
	for _, test := range tests {
		if got := answer(t, s, test.ask); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// Every column comes back as it went in, and adds up.
func testAmounts(t *testing.T, open opened) {
	s := open(t)
	want := AmountsOf([]int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 1 << 60})
	write(t, s, Batch{Writer: "w", Sequence: 1, Entries: Entries{key("p", "a", ""): want}})
	write(t, s, Batch{Writer: "w", Sequence: 2, Entries: Entries{key("p", "b", ""): want, key("p", "a", ""): {Calls: 1}}})
	want.Add(want)
	want.Calls++
	entries, err := s.Sums(t.Context(), all("project"))
	if err != nil {
		t.Fatal(err)
	}
	for k, got := range entries {
		if got != want || k.Project != "p" {
			t.Errorf("got %+v of %q, want %+v", got, k.Project, want)
		}
	}
	if len(entries) != 1 {
		t.Errorf("got %d lines, want 1", len(entries))
	}
}

// A batch counts once, however often and from wherever it is written.
func testBatchesCountOnce(t *testing.T, open opened) {
	s := open(t)
	var writing sync.WaitGroup
	for range 8 {
		writing.Go(func() {
			for sequence := range int64(10) {
				if err := s.Write(t.Context(), Batch{Writer: "w", Sequence: sequence + 1, Entries: Entries{key("p", "", ""): {Calls: 1 << (4 * sequence)}}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	s.Close()
	again := open(t)
	write(t, again, Batch{Writer: "w", Sequence: 10, Entries: Entries{key("p", "", ""): {Calls: 1}}})
	write(t, again, Batch{Writer: "another", Sequence: 10, Entries: Entries{key("p", "", ""): {Calls: 1 << 40}}})
	// Of one writer a later batch means that all before are there, so each ran in order
	// only in the goroutine that was first: every number once at most.
	entries, err := again.Sums(t.Context(), all())
	if err != nil {
		t.Fatal(err)
	}
	for _, sum := range entries {
		if sum.Calls>>40 != 1 || sum.Calls&0xeeeeeeeeee != 0 {
			t.Errorf("got %x, want no digit above 1", sum.Calls)
		}
	}
	if written, err := again.Written(t.Context(), "w"); err != nil || written != 10 {
		t.Errorf("written: got %d, %v, want 10", written, err)
	}
	if written, err := again.Written(t.Context(), "nobody"); err != nil || written != 0 {
		t.Errorf("written by nobody: got %d, %v, want 0", written, err)
	}
}

// Names that clients chose don't keep others out.
func testHostileNames(t *testing.T, open opened) {
	s := open(t)
	entries := Entries{}
	for i, name := range []string{"\x00", "a\xffb", "'; DROP TABLE mcp_gateway_usage; --", strings.Repeat("ü", 1<<20), "\u202e", "$1"} {
		k := key("p", Clean(name), Clean(name))
		entries.Add(k, Amounts{Calls: 1 << (4 * i)})
	}
	write(t, s, Batch{Writer: "w", Sequence: 1, Entries: entries})
	if got := answer(t, s, all()); got != fmt.Sprintf("=%d", 0x111111) {
		t.Errorf("got %s, want %d", got, 0x111111)
	}
}

// Several gateways that make the tables, write and export at the same time lose nothing.
func testGatewaysTogether(t *testing.T, open opened) {
	const writers, batches = 4, 20
	var running sync.WaitGroup
	exported, stop := make(chan int64), make(chan struct{})
	for w := range writers {
		running.Go(func() {
			s := open(t)
			for n := range int64(batches) {
				entries := Entries{}
				for tool := range 30 {
					entries.Add(key("p", fmt.Sprint((tool*7+w)%30), ""), Amounts{Calls: 1})
				}
				if err := s.Write(t.Context(), Batch{Writer: fmt.Sprint(w), Sequence: n + 1, Entries: entries, Export: true}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() {
		s := open(t)
		var sum int64
		for done := false; !done; {
			select {
			case <-stop:
				done = true
			default:
			}
			sum += export(t, s)
		}
		exported <- sum
	}()
	running.Wait()
	close(stop)
	const want = writers * batches * 30
	if got := <-exported; got != want {
		t.Errorf("exported: got %d, want %d", got, want)
	}
	if got := answer(t, open(t), all()); got != fmt.Sprintf("=%d", want) {
		t.Errorf("ledger: got %s, want %d", got, want)
	}
}

// export takes everything out of the outbox and sums it.
func export(t *testing.T, s *Store) (calls int64) {
	cut, err := s.Cut(context.Background())
	if err != nil {
		t.Error(err)
		return 0
	}
	for {
		keys, entries, err := s.Outbox(context.Background(), cut, 7)
		if err != nil || len(keys) == 0 || cut == 0 {
			if err != nil {
				t.Error(err)
			}
			return calls
		}
		for _, sum := range entries {
			calls += sum.Calls
		}
		if err := s.Sent(context.Background(), cut, keys); err != nil {
			t.Error(err)
		}
	}
}

// A cut does not change while it is on its way, and comes again until it was sent.
func testCut(t *testing.T, open opened) {
	s := open(t)
	if cut, err := s.Cut(t.Context()); cut != 0 || err != nil {
		t.Errorf("of nothing: got %d, %v, want 0", cut, err)
	}
	one := Entries{key("p", "a", ""): {Calls: 1}, key("p", "b", ""): {Calls: 1}}
	write(t, s, Batch{Writer: "w", Sequence: 1, Entries: one, Export: true})
	cut, err := s.Cut(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	write(t, s, Batch{Writer: "w", Sequence: 2, Entries: one, Export: true})
	write(t, s, Batch{Writer: "w", Sequence: 3, Entries: one})
	again, err := s.Cut(t.Context())
	if err != nil || again != cut {
		t.Errorf("got cut %d, %v, want %d again", again, err, cut)
	}
	keys, entries, err := s.Outbox(t.Context(), cut, 10)
	if want := []Key{key("p", "a", ""), key("p", "b", "")}; err != nil || !slices.Equal(keys, want) || !reflect.DeepEqual(entries, one) {
		t.Errorf("got %v %v, %v, want what was there when it was cut", keys, entries, err)
	}
	if err := s.Sent(t.Context(), cut, keys[:1]); err != nil {
		t.Fatal(err)
	}
	if sum := export(t, s); sum != 1 {
		t.Errorf("got %d calls left of the cut, want 1", sum)
	}
	if sum := export(t, s); sum != 2 {
		t.Errorf("got %d calls in the next cut, want 2", sum)
	}
}

func testLease(t *testing.T, open opened) {
	s, now := open(t), time.Unix(hour, 0)
	for _, step := range []struct {
		holder string
		at     time.Duration
		want   bool
	}{{"a", 0, true}, {"b", time.Second, false}, {"a", 30 * time.Second, true}, {"b", 80 * time.Second, false}, {"b", 91 * time.Second, true}, {"a", 92 * time.Second, false}} {
		got, err := s.Lease(t.Context(), step.holder, now.Add(step.at), now.Add(step.at+time.Minute))
		if err != nil || got != step.want {
			t.Errorf("%s after %s: got %v, %v, want %v", step.holder, step.at, got, err, step.want)
		}
	}
}

func testForget(t *testing.T, open opened) {
	s := open(t)
	old := key("p", "", "")
	old.Hour -= 3600
	write(t, s, Batch{Writer: "w", Sequence: 1, Entries: Entries{old: {Calls: 1}, key("p", "", ""): {Calls: 2}}})
	if err := s.Forget(t.Context(), time.Unix(hour, 0)); err != nil {
		t.Fatal(err)
	}
	if got := answer(t, s, all()); got != "=2" {
		t.Errorf("got %s, want =2", got)
	}
	if written, err := s.Written(t.Context(), "w"); err != nil || written != 1 {
		t.Errorf("got %d, %v: a writer that wrote a moment ago must be known", written, err)
	}
}

// A ledger of a newer program is left alone.
func testNewerLedger(t *testing.T, open opened) {
	s := open(t)
	id, err := s.ID(t.Context())
	if err != nil || id == "" {
		t.Fatalf("got id %q, %v", id, err)
	}
	if same, err := open(t).ID(t.Context()); same != id || err != nil {
		t.Errorf("got id %q, %v, want %q again", same, err, id)
	}
	if _, err := s.db.ExecContext(t.Context(), "UPDATE mcp_gateway_ledger SET version = 99"); err != nil {
		t.Fatal(err)
	}
	s.known = false
	if err := s.Write(t.Context(), Batch{Writer: "w", Sequence: 1}); err == nil || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("got %v, want that its version is too new", err)
	}
}

// The folder of the ledger may be one whose parents can't be passed through.
func TestFolderByDescriptor(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	hidden := filepath.Join(parent, "hidden", "state %?#")
	if err := os.MkdirAll(hidden, 0o700); err != nil {
		t.Fatal(err)
	}
	folder, err := os.Open(hidden)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	// The path that the descriptor has is none any more: who resolves it finds nothing.
	if err := os.Rename(filepath.Join(parent, "hidden"), filepath.Join(parent, "moved")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(parent, "hidden"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := OpenSQLite(t.Context(), fmt.Sprintf("/proc/self/fd/%d", folder.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	write(t, s, Batch{Writer: "w", Sequence: 1, Entries: Entries{key("p", "", ""): {Calls: 2}}})
	if _, err := os.Stat(filepath.Join(parent, "moved", "state %?#", "usage.db")); err != nil {
		t.Error(err)
	}
}

func TestNoSuchFolder(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing")
	if _, err := OpenSQLite(t.Context(), missing); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("got %v, want an error that names the folder", err)
	}
}

// A database that is not there yet is no mistake, and its password is shown to nobody.
func TestPostgresAway(t *testing.T) {
	t.Parallel()
	server := ledgertest.NewPostgres(t)
	server.Stop()
	s, err := OpenPostgres(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	batch := Batch{Writer: "w", Sequence: 1, Entries: Entries{key("p", "", ""): {Calls: 2}}}
	if err := s.Write(t.Context(), batch); err == nil {
		t.Error("got no error without a server")
	}
	server.Start()
	write(t, s, batch)
	server.Stop()
	server.Start()
	_ = s.Write(t.Context(), batch) // over a connection that the server does not know any more
	write(t, s, batch)
	if got := answer(t, s, all()); got != "=2" {
		t.Errorf("got %s, want =2", got)
	}
	if _, err := OpenPostgres("postgres://u:hush@[/x"); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("got %v, want an error without the password", err)
	}
}
