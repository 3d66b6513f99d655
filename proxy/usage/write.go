package usage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/ledger"
	"mcpgateway/proxy/quota"
)

const (
	flushEvery   = time.Second
	writeWait    = 10 * time.Second
	stopWait     = 10 * time.Second // for the last of it, when the gateway stops
	maxBackoff   = 30 * time.Second
	rereadEvery  = 5 * time.Second // what other gateways have used
	forgetEvery  = 24 * time.Hour
	maxFiles     = 8 // of a batch, before they become one
	saySoAgain   = time.Minute
	firstBackoff = time.Second
)

// writing is what the one goroutine knows that writes. Others read its counters, under the
// Meter's lock.
type writing struct {
	name string     // of this process, among all that write to the ledger
	left []*remnant // of earlier processes
	head *batch     // was written, and perhaps it is there

	waiting   int    // entries of head
	failures  uint64 // writes
	unspooled uint64 // entries
	blind     atomic.Bool

	backoff   time.Duration
	nextTry   time.Time
	nextRead  time.Time // of what was used of budgets
	nextOld   time.Time // when old entries are deleted
	said      time.Time
	spoolSaid time.Time
}

// Run writes to the ledger until ctx ends, and then what is left. It returns at once if
// there is no ledger by then.
func (m *Meter) Run(ctx context.Context) error {
	select {
	case <-m.opened:
	case <-ctx.Done():
		return nil
	}
	filling, filled := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(filled)
		m.fill(filling)
	}()
	exporting := make(chan struct{})
	go func() {
		defer close(exporting)
		m.exports(ctx)
	}()
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			m.flush(ctx)
		case <-m.kicked:
			m.flush(ctx)
		case what := <-m.asked:
			what(ctx)
		case <-ctx.Done():
		}
	}
	<-exporting
	close(filling)
	<-filled
	return m.finish(context.WithoutCancel(ctx))
}

// fill makes spool files when they are wanted.
func (m *Meter) fill(done <-chan struct{}) {
	for {
		select {
		case <-m.spool.wanted:
			if err := m.spool.fill(); err != nil {
				m.spoolFailed(err)
			} else {
				m.mu.Lock()
				m.spoolSaid = time.Time{}
				m.mu.Unlock()
			}
		case <-done:
			return
		}
	}
}

// spoolFailed tells of it, but not each time.
func (m *Meter) spoolFailed(err error) {
	m.mu.Lock()
	again := m.now().Sub(m.spoolSaid) < saySoAgain
	if !again {
		m.spoolSaid = m.now()
	}
	m.mu.Unlock()
	if !again {
		m.log.Error("what is not in the ledger yet would be lost with this process", "err", err)
	}
}

// finish writes what is left when the gateway stops.
func (m *Meter) finish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	m.nextTry = time.Time{}
	for m.pending() && ctx.Err() == nil {
		if m.write(ctx); m.head == nil {
			continue
		}
		select { // and again, while there is time
		case <-time.After(min(firstBackoff, m.backoff)):
		case <-ctx.Done():
		}
	}
	if m.pending() {
		m.log.Warn("the ledger has not got everything: the rest is kept in the proxy's folder, and follows at its next start", "entries", m.Stats().Pending)
		return m.store.Close()
	}
	return errors.Join(m.spool.close(), m.store.Close())
}

// pending reports whether there is something that is not in the ledger.
func (m *Meter) pending() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.left) > 0 || m.head != nil || len(m.open.entries) > 0
}

// flush writes what there is, unless it is too early to try again, and does what has to be
// done now and then.
func (m *Meter) flush(ctx context.Context) {
	now := m.now()
	if now.Before(m.nextTry) {
		m.shrink()
		return
	}
	m.write(context.WithoutCancel(ctx))
	if m.head == nil && len(m.left) == 0 {
		m.read(ctx, now)
		m.forget(ctx, now)
	}
	for _, alert := range m.quotas.Alerts(now) {
		m.alert(alert)
	}
}

func (m *Meter) alert(s quota.State) {
	text := "a quota is nearly used up"
	if s.Used >= s.Limit {
		text = "a quota is used up: calls are refused"
	}
	m.log.Warn(text, "project", s.Project, "quota", s.Quota, "used", s.Used, "limit", s.Limit, "until", s.Until)
}

// write writes what earlier processes left, then what is counted.
func (m *Meter) write(parent context.Context) {
	ctx, cancel := context.WithTimeout(parent, writeWait)
	defer cancel()
	if m.recover(ctx, m.store); len(m.left) > 0 {
		return
	}
	if m.head == nil {
		m.seal()
	}
	if m.head == nil {
		return
	}
	m.mu.Lock()
	export := m.export != nil
	m.mu.Unlock()
	err := m.store.Write(ctx, ledger.Batch{Writer: m.name, Sequence: m.head.sequence, Entries: m.head.entries, Export: export})
	if err != nil {
		m.failed(err)
		return
	}
	m.written()
	files := m.head.files
	m.mu.Lock()
	m.head, m.waiting = nil, 0
	m.mu.Unlock()
	if err := m.spool.release(files); err != nil {
		m.spoolFailed(err)
	}
}

// seal begins a new batch; what was counted so far is to be written.
func (m *Meter) seal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.open.entries) == 0 {
		return
	}
	sealed := m.open
	if len(sealed.files) == 0 {
		m.last++
		sealed.sequence = m.last
	}
	m.open = batch{entries: ledger.Entries{}}
	m.head, m.waiting = &sealed, len(sealed.entries)
}

// failed is a write that may have reached the database, or not.
func (m *Meter) failed(err error) {
	m.mu.Lock()
	m.failures++
	spoolFails := !m.spoolSaid.IsZero()
	m.mu.Unlock()
	m.backoff = min(maxBackoff, max(firstBackoff, 2*m.backoff))
	m.nextTry = m.now().Add(m.backoff/2 + rand.N(m.backoff/2)) //nolint:gosec // G404: it keeps gateways from coming at once
	// With neither a database nor a file, what counts for a quota would be forgotten.
	m.blind.Store(spoolFails)
	if now := m.now(); now.Sub(m.said) >= saySoAgain {
		m.said = now
		m.log.Warn("the ledger can't be written: usage is kept in the proxy's folder until it can", "err", err)
	}
}

// written is a write that worked.
func (m *Meter) written() {
	if m.backoff > 0 {
		m.log.Info("the ledger can be written again")
	}
	m.backoff, m.nextTry, m.said = 0, time.Time{}, time.Time{}
	m.blind.Store(false)
}

// recover writes what earlier processes left, each one's as one batch, unless it is in the
// ledger already. What can't be written stays in m.left.
func (m *Meter) recover(ctx context.Context, store *ledger.Store) {
	for len(m.left) > 0 {
		writer := m.left[0].writer
		var own []*remnant
		for _, r := range m.left {
			if r.writer == writer {
				own = append(own, r)
			}
		}
		if err := replay(ctx, store, writer, own, m.exported()); err != nil {
			m.failed(err)
			return
		}
		m.written()
		var files []*segment
		for _, r := range own {
			files = append(files, &r.segment)
		}
		if err := m.spool.release(files); err != nil {
			m.spoolFailed(err) // they count no second time
		}
		m.log.Info("usage that an earlier process left is in the ledger", "files", len(own))
		m.left = m.left[len(own):]
	}
}

func (m *Meter) exported() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.export != nil
}

// replay writes the files of one process, which are sorted.
func replay(ctx context.Context, store *ledger.Store, writer string, files []*remnant, export bool) error {
	written, err := store.Written(ctx, writer)
	if err != nil {
		return err
	}
	b := ledger.Batch{Writer: writer, Sequence: written, Entries: ledger.Entries{}, Export: export}
	for i, r := range files {
		if r.to <= written || covered(r, i, files) {
			continue
		}
		b.Sequence = max(b.Sequence, r.to)
		for k, amounts := range r.entries {
			b.Entries.Add(k, amounts)
		}
	}
	if b.Sequence == written {
		return nil
	}
	return store.Write(ctx, b)
}

// covered reports whether another file of the same process has the entries of one.
func covered(r *remnant, at int, files []*remnant) bool {
	for i, o := range files {
		wider := o.to-o.from > r.to-r.from || i < at
		if i != at && o.writer == r.writer && o.from <= r.from && r.to <= o.to && wider {
			return true
		}
	}
	return false
}

// shrink makes one file of many, while the database is away.
func (m *Meter) shrink() {
	m.mu.Lock()
	if len(m.open.files) < maxFiles {
		m.mu.Unlock()
		return
	}
	entries, files := maps.Clone(m.open.entries), m.open.files
	m.open.files = nil // what comes now goes into another one
	m.anotherLocked()
	m.mu.Unlock()
	one, err := m.spool.compact(entries, files[0].from, files[len(files)-1].to)
	kept := []*segment{one}
	if err != nil {
		kept = files
	}
	m.mu.Lock()
	m.open.files = append(kept, m.open.files...)
	m.open.sequence = m.open.files[len(m.open.files)-1].to
	m.mu.Unlock()
	if err == nil {
		err = m.spool.release(files)
	}
	if err != nil {
		m.spoolFailed(err)
	}
}

// unwritten is what is not in the ledger yet.
func (m *Meter) unwritten() ledger.Entries {
	all := ledger.Entries{}
	for i, r := range m.left {
		if covered(r, i, m.left) {
			continue
		}
		for k, amounts := range r.entries {
			all.Add(k, amounts)
		}
	}
	if m.head != nil {
		for k, amounts := range m.head.entries {
			all.Add(k, amounts)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, amounts := range m.open.entries {
		all.Add(k, amounts)
	}
	return all
}

// read asks the ledger what was used of budgets, if that is not known, or others use of
// them too.
func (m *Meter) read(parent context.Context, now time.Time) {
	if !m.quotas.Unknown() && (!m.store.Shared() || now.Before(m.nextRead)) {
		return
	}
	m.nextRead = now.Add(rereadEvery)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(parent), writeWait)
	defer cancel()
	until := now.Add(24 * time.Hour)
	day := ledger.Query{From: quota.Day(now), To: until, By: []string{"project"}}
	month := ledger.Query{From: quota.Month(now), To: until, By: []string{"project"}}
	calls, err := m.store.Sums(ctx, day)
	var cpu ledger.Entries
	if err == nil {
		cpu, err = m.store.Sums(ctx, month)
	}
	if err != nil {
		m.failed(fmt.Errorf("quotas: %w", err))
		return
	}
	used := map[string]quota.Known{}
	add := func(entries ledger.Entries, from time.Time, what func(*quota.Known, ledger.Amounts)) {
		for k, amounts := range entries {
			if k.Hour >= from.Unix() {
				sum := used[k.Project]
				what(&sum, amounts)
				used[k.Project] = sum
			}
		}
	}
	add(calls, day.From, addCalls)
	add(cpu, month.From, addCPU)
	// While nothing is counted: what is between the ledger and the table is in neither or in
	// both.
	m.mu.Lock()
	defer m.mu.Unlock()
	add(m.open.entries, day.From, addCalls)
	add(m.open.entries, month.From, addCPU)
	m.quotas.Set(now, used)
}

func addCalls(k *quota.Known, a ledger.Amounts) { k.Calls += a.Calls }
func addCPU(k *quota.Known, a ledger.Amounts)   { k.CPUMicros += a.CPUMicros }

// forget deletes what is older than the policy wants, once a day. The month that quotas
// are of stays.
func (m *Meter) forget(parent context.Context, now time.Time) {
	m.mu.Lock()
	keep := m.keep
	m.mu.Unlock()
	if keep == 0 || now.Before(m.nextOld) {
		return
	}
	m.nextOld = now.Add(forgetEvery)
	before := now.Add(-keep)
	if month := quota.Month(now); month.Before(before) {
		before = month
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(parent), writeWait)
	defer cancel()
	if err := m.store.Forget(ctx, before); err != nil {
		m.log.Warn("old usage is not deleted", "err", err)
	}
}

// exportRules are what the export is to do; nil: nothing.
func (m *Meter) exportRules() *policy.UsageExport {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.export
}
