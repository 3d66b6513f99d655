// Package usage counts what callers and servers use: it is told of calls, of sandboxes
// and of their connections, sums that up by the hour, and has it written to the ledger
// each second. Until that has happened, entries are in a spool file too, so that the end
// of the process loses none; each batch of them counts once. Nobody who calls waits for a
// disk or a database here.
//
// Runs in: proxy.
package usage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/ledger"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/quota"
	"mcpgateway/proxy/telemetry"
)

const (
	// maxTools is how many tools of a server are told apart in an hour, and maxEntries how
	// many entries wait for the database at most. What comes beyond is other.
	maxTools   = 1000
	maxEntries = 100_000
	other      = "other"

	openWait = 5 * time.Second // for the ledger, when a generation wants it first
)

// Options are what a Meter is made of.
type Options struct {
	Folder string // where it keeps its files; "": nowhere, so that there can be no ledger
	Log    *slog.Logger
	Now    func() time.Time // nil: the clock
}

// Meter counts. Its methods may be called concurrently, unless they say otherwise.
type Meter struct {
	folder string
	log    *slog.Logger
	now    func() time.Time
	quotas *quota.Table
	rooms  sync.Pool // of *[256]byte, for records

	asked  chan func(context.Context) // done between two writes
	kicked chan struct{}              // has a value when a write is not to wait
	opened chan struct{}              // closed when there is a store

	store    *ledger.Store // nil before opened is closed
	database string        // of the store, which stays the same; "" for SQLite

	mu       sync.Mutex
	enabled  bool
	export   *policy.UsageExport
	keep     time.Duration     // how long entries are kept; 0: for ever
	projects map[string]string // of servers that there are, or were
	shared   map[string]bool   // servers whose instances belong to no one caller
	open     batch
	last     int64 // number of the newest spool file, or of a batch without one
	spool    spool
	tools    map[string]map[string]bool // by server, in this hour
	hour     int64                      // that tools are of
	boxes    map[string]*box            // by sandbox
	gone     map[string]time.Time       // sandboxes that have ended, for a while
	owners   map[string]string          // of sandboxes that belong to one caller

	*writing
}

// batch is what is counted together.
type batch struct {
	entries  ledger.Entries
	sequence int64      // of its newest spool file, or its own
	files    []*segment // where the entries are, too
}

// New returns a Meter that counts nothing before the first Apply.
func New(o Options) *Meter {
	m := &Meter{
		folder: o.Folder, log: o.Log, now: o.Now, quotas: quota.New(),
		asked: make(chan func(context.Context)), kicked: make(chan struct{}, 1), opened: make(chan struct{}),
		projects: map[string]string{}, shared: map[string]bool{}, open: batch{entries: ledger.Entries{}},
		tools: map[string]map[string]bool{}, boxes: map[string]*box{}, gone: map[string]time.Time{}, owners: map[string]string{},
		writing: &writing{name: strings.ToLower(rand.Text())},
	}
	m.rooms.New = func() any { return new([256]byte) }
	if m.now == nil {
		m.now = time.Now
	}
	m.spool = spool{folder: o.Folder, writer: m.name, wanted: make(chan struct{}, 1)}
	return m
}

// Apply puts the part of a policy in force that is about usage. The first one that wants a
// ledger opens it. Calls must come one at a time.
func (m *Meter) Apply(next *policy.Policy) error {
	first, err := m.prepare(next.Usage)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.enabled, m.export = next.Usage != nil, nil
	if m.enabled {
		m.export, m.keep = next.Usage.Export, next.Usage.Retention
	}
	for name, server := range next.Servers {
		m.projects[name], m.shared[name] = server.Project, server.Instances == policy.InstancesShared
	}
	m.quotas.Apply(next.Budgets)
	m.mu.Unlock()
	if first {
		m.begin()
	}
	select { // what has been used of a new budget is to be known soon
	case m.kicked <- struct{}{}:
	default:
	}
	return nil
}

// begin has the ledger know what an earlier process left, and the quotas what the ledger
// knows. It is done at once if the ledger is here: nobody need be turned away meanwhile.
func (m *Meter) begin() {
	defer close(m.opened)
	if m.store.Shared() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), openWait)
	defer cancel()
	m.recover(ctx, m.store)
	if len(m.left) == 0 {
		m.read(ctx, m.now())
	}
}

// prepare opens the store, once.
func (m *Meter) prepare(want *policy.Usage) (first bool, err error) {
	if want == nil {
		return false, nil
	}
	switch {
	case m.store != nil && m.database != want.Database:
		return false, errors.New("usage.store and usage.database can't be changed while the gateway runs: restart it")
	case m.store != nil:
		return false, nil
	case m.folder == "":
		return false, errors.New("the ledger needs a folder, and the proxy has none: start it with -state-dir (StateDirectory= of its unit), or write usage.enabled: false")
	}
	ctx, cancel := context.WithTimeout(context.Background(), openWait)
	defer cancel()
	store, err := openStore(ctx, m.folder, want.Database)
	if err != nil {
		return false, err
	}
	left, err := m.spool.open()
	if err != nil {
		return false, errors.Join(err, store.Close())
	}
	m.store, m.database, m.left = store, want.Database, left
	return true, nil
}

func openStore(ctx context.Context, folder, database string) (*ledger.Store, error) {
	if database == "" {
		return ledger.OpenSQLite(ctx, folder)
	}
	return ledger.OpenPostgres(database)
}

// passKey is where the context of a call has its pass.
type passKey struct{}

// Begin remembers, for a call of a project with a budget, whether it was let in.
func (m *Meter) Begin(ctx context.Context, c *telemetry.Call) context.Context {
	if !counts(c) || !m.quotas.Has(c.Project) {
		return ctx
	}
	return context.WithValue(ctx, passKey{}, &quota.Pass{})
}

// Enter says whether a call may be passed on, by the budget of its project: nil, a
// *quota.Error or quota.ErrUnknown. Its context must be of Begin.
func (m *Meter) Enter(ctx context.Context, c *telemetry.Call) error {
	pass, ok := ctx.Value(passKey{}).(*quota.Pass)
	if !ok {
		return nil
	}
	if m.blind.Load() {
		return quota.ErrUnknown
	}
	var err error
	*pass, err = m.quotas.Enter(c.Project, c.Started)
	return err
}

// counts reports whether a call is one that a client pays for.
func counts(c *telemetry.Call) bool {
	switch c.Method {
	case mcp.MethodToolsCall, mcp.MethodResourcesRead, mcp.MethodPromptsGet, mcp.MethodComplete:
		return c.Transport != ""
	}
	return false
}

// End counts a call.
func (m *Meter) End(ctx context.Context, c *telemetry.Call) {
	counted := counts(c)
	e := entryOf(c)
	room, _ := m.rooms.Get().(*[256]byte)
	defer m.rooms.Put(room)
	if counted {
		e.record = record(room[:0], e.Key, e.amounts) // here, where nobody waits for it
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.Instance != "" && !m.shared[c.Server] && m.gone[c.Instance].IsZero() {
		m.owners[c.Instance] = e.Identity
	}
	if !counted {
		return
	}
	var pass quota.Pass
	if held, ok := ctx.Value(passKey{}).(*quota.Pass); ok {
		pass = *held
	}
	if c.Instance == "" {
		m.quotas.Leave(pass)
	} else {
		m.quotas.LeaveCounted(pass, c.Project, c.Started)
	}
	if tool := m.toolLocked(c, e.Key); tool != e.Tool {
		e.Tool, e.record = tool, nil
	}
	m.bookLocked(e)
}

// entry is something that was used.
type entry struct {
	ledger.Key
	amounts ledger.Amounts
	record  []byte // of it in a file; nil: not made yet
}

// entryOf is what a call has used, by the tool's own name.
func entryOf(c *telemetry.Call) entry {
	e := entry{Key: ledger.Key{
		Hour: ledger.HourOf(c.Started), Project: c.Project, Server: c.Server, Method: c.Method,
		Tool: ledger.Clean(c.Tool), Identity: ledger.Clean(c.Caller.Subject),
	}}
	if c.Instance == "" {
		e.amounts.Refused = 1
		return e
	}
	e.amounts = ledger.Amounts{Calls: 1, BytesIn: c.BytesIn, BytesOut: c.BytesOut, WallMicros: c.Duration.Microseconds()}
	if !c.Good() {
		e.amounts.Errors = 1
	}
	return e
}

// toolLocked is the tool that a call is counted for. Clients choose names, and those of
// calls that were refused may be of no tool at all: they are counted by name if it is
// known already. m.mu must be held.
func (m *Meter) toolLocked(c *telemetry.Call, e ledger.Key) string {
	tool := e.Tool
	if tool == "" {
		return ""
	}
	if e.Hour > m.hour {
		m.hour = e.Hour
		clear(m.tools)
	}
	known := m.tools[c.Server]
	switch {
	case known[tool]:
		return tool
	case c.Instance == "" || len(known) >= maxTools:
		return other
	case known == nil:
		known = map[string]bool{}
		m.tools[c.Server] = known
	}
	known[tool] = true
	return tool
}

// bookLocked adds an entry. m.mu must be held.
func (m *Meter) bookLocked(e entry) {
	if !m.enabled {
		return
	}
	if len(m.open.entries) >= maxEntries {
		if _, there := m.open.entries[e.Key]; !there {
			e.Identity, e.record = other, nil
			if e.Tool != "" {
				e.Tool = other
			}
		}
	}
	if e.record == nil {
		e.record = record(nil, e.Key, e.amounts)
	}
	if n := len(m.open.files); n == 0 || !m.open.files[n-1].append(e.record) {
		m.anotherLocked()
		if n := len(m.open.files); n == 0 || !m.open.files[n-1].append(e.record) {
			m.unspooled++
		}
	}
	m.open.entries.Add(e.Key, e.amounts)
}

// fewEntries are those that are summed up in the next spool file, rather than to keep the
// ones before.
const fewEntries = 1000

// anotherLocked goes on in another spool file, if there is one ready. m.mu must be held.
func (m *Meter) anotherLocked() {
	next := m.spool.take()
	if next == nil {
		return
	}
	m.last++
	if files := m.open.files; mapped(files) && len(m.open.entries) <= fewEntries && next.sum(m.open.entries, files[0].from, m.last) {
		m.open.files = nil
		m.spool.reuse(files)
	} else {
		next.begin(m.last, m.last)
	}
	m.open.files, m.open.sequence = append(m.open.files, next), m.last
}

// Quotas gives all quotas with what of them is used up.
func (m *Meter) Quotas() []quota.State { return m.quotas.States(m.now()) }

// Stats are what there is to tell of the Meter itself.
type Stats struct {
	Pending  int    // entries that are not in the ledger yet
	Failures uint64 // writes that failed
	Unsafe   uint64 // entries that were in no spool file while they waited
}

// Stats gives what there is to tell at the moment.
func (m *Meter) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Stats{Pending: len(m.open.entries) + m.waiting, Failures: m.failures, Unsafe: m.unspooled}
}

// Report is the answer to a query.
type Report struct {
	From, To time.Time
	By       []string
	Lines    []ledger.Line
}

// Report sums up what was used, to this moment.
func (m *Meter) Report(ctx context.Context, q ledger.Query) (Report, error) {
	if err := q.Check(); err != nil {
		return Report{}, err
	}
	select {
	case <-m.opened:
	default:
		return Report{}, errors.New("there is no ledger: usage.enabled is false")
	}
	var lines []ledger.Line
	err := m.do(ctx, func(context.Context) error {
		m.flush(ctx)
		stored, err := m.store.Sums(ctx, q)
		if err != nil {
			return err
		}
		lines, err = ledger.Answer(q, stored, q.Select(m.unwritten()))
		return err
	})
	if err != nil {
		return Report{}, fmt.Errorf("sum up usage: %w", err)
	}
	return Report{q.From, q.To, q.By, lines}, nil
}

// do has something done between two writes, and waits for it.
func (m *Meter) do(ctx context.Context, what func(context.Context) error) error {
	done := make(chan error, 1)
	select {
	case m.asked <- func(running context.Context) { done <- what(running) }:
		return <-done
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
