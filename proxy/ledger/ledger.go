// Package ledger is where usage is kept: a table of what was used each hour by whom, in
// SQLite or in PostgreSQL, by the same statements. Each batch of entries has the name of
// its writer and a number, which are kept with it, so that a batch that is written again
// counts once. It counts nothing itself.
//
// Runs in: proxy.
package ledger

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// Hour is the time that one entry is about.
const Hour = time.Hour

// Key is what is counted apart. What an instance uses belongs to no method and no tool.
type Key struct {
	Hour                                    int64 // its beginning, in seconds of Unix time
	Project, Server, Method, Tool, Identity string
}

// HourOf is the hour that a time is in, as a Key has it.
func HourOf(t time.Time) int64 { return t.Unix() - t.Unix()%int64(Hour/time.Second) }

// Amounts are what was used.
type Amounts struct {
	Calls, Errors, Refused     int64
	BytesIn, BytesOut          int64
	WallMicros                 int64 // that calls took
	CPUMicros                  int64
	MemoryKiBSeconds           int64
	EgressSent, EgressReceived int64 // bytes, by servers and to them
}

// amounts is how many there are.
const amounts = 10

// columns are the amounts in the order of their columns.
func (a *Amounts) columns() [amounts]*int64 {
	return [amounts]*int64{
		&a.Calls, &a.Errors, &a.Refused, &a.BytesIn, &a.BytesOut, &a.WallMicros, &a.CPUMicros, &a.MemoryKiBSeconds,
		&a.EgressSent, &a.EgressReceived,
	}
}

// amountNames are the names of the columns.
func amountNames() []string {
	return []string{
		"calls", "errors", "refused", "bytes_in", "bytes_out", "wall_us", "cpu_us", "memory_kib_s",
		"egress_sent", "egress_received",
	}
}

// Add adds others.
func (a *Amounts) Add(b Amounts) {
	theirs := b.columns()
	for i, mine := range a.columns() {
		*mine += *theirs[i]
	}
}

// Values are the amounts in an order that does not change, for who encodes them.
func (a *Amounts) Values() (values [amounts]int64) {
	for i, column := range a.columns() {
		values[i] = *column
	}
	return values
}

// AmountsOf makes amounts of their Values. Missing ones are 0.
func AmountsOf(values []int64) (a Amounts) {
	columns := a.columns()
	for i := range min(len(values), len(columns)) {
		*columns[i] = values[i]
	}
	return a
}

// Entries are amounts by what they are counted for.
type Entries map[Key]Amounts

// Add counts amounts.
func (e Entries) Add(k Key, a Amounts) {
	sum := e[k]
	sum.Add(a)
	e[k] = sum
}

// sorted are the keys in one order for all: transactions that lock rows in the same order
// don't wait for each other in a circle.
func (e Entries) sorted() []Key { return slices.SortedFunc(maps.Keys(e), compare) }

func compare(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Hour, b.Hour), strings.Compare(a.Project, b.Project), strings.Compare(a.Server, b.Server),
		strings.Compare(a.Method, b.Method), strings.Compare(a.Tool, b.Tool), strings.Compare(a.Identity, b.Identity))
}

// Batch is entries that count together, or not at all.
type Batch struct {
	Writer   string // unique among all that write to a ledger
	Sequence int64  // above those of the writer's batches before
	Entries  Entries
	Export   bool // they are to be exported, too
}

// maxText is the most bytes of a name in a Key.
const maxText = 200

// Clean makes a name that clients may have chosen fit for a Key. PostgreSQL takes neither
// NUL nor what is not UTF-8: one such name would keep all others out.
func Clean(name string) string {
	name = strings.ToValidUTF8(strings.ReplaceAll(name, "\x00", "\uFFFD"), "\uFFFD")
	if len(name) > maxText {
		name = strings.ToValidUTF8(name[:maxText-len("…")], "") + "…"
	}
	return name
}
