package verify

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mcpgateway/policy/chain"
)

// book is both logs as the gateway writes them, in memory.
type book struct {
	t          testing.TB
	key        ed25519.PrivateKey
	now        time.Time
	calls, own chain.Chain
	files      [][]byte // of the calls, the oldest first
	ownFile    []byte
	signed     *chain.Head // of the calls
	ids        int
	known      map[chain.Head]bool
}

func newBook(t testing.TB) *book {
	b := &book{t: t, key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	b.own.ID = "own"
	b.ownFile = b.own.AppendOpened(nil, chain.Daemon, b.now, nil, true)
	return b
}

func (b *book) last() *[]byte { return &b.files[len(b.files)-1] }

func (b *book) record(event string, format string, args ...any) {
	b.ownFile = b.own.Append(b.ownFile, fmt.Appendf(nil, `"event":%q,`+format, append([]any{event}, args...)...))
}

// sign is what the daemon does at a checkpoint.
func (b *book) sign() *chain.Head {
	b.now = b.now.Add(time.Second)
	h := b.calls.Head().Sign(b.key, b.now)
	b.signed = &h
	b.record(chain.EventCheckpoint, `"log":"calls","head":%s`, headJSON(h))
	return &h
}

func headJSON(h chain.Head) string {
	return fmt.Sprintf(`{"chain":%q,"sequence":%d,"hash":%q,"time":%q,"signature":%q}`, h.Chain, h.Sequence, h.Hash, h.Time.Format(time.RFC3339Nano), h.Signature)
}

// proxy begins a chain.
func (b *book) proxy() {
	b.ids++
	b.calls = chain.Chain{ID: fmt.Sprintf("chain%d", b.ids)}
	if len(b.files) == 0 {
		b.files = append(b.files, nil)
	}
	if b.signed != nil {
		if err := b.calls.Follow(*b.signed); err != nil {
			b.t.Fatal(err)
		}
	}
	*b.last() = b.calls.AppendOpened(*b.last(), chain.Calls, b.now, b.signed, len(*b.last()) == 0)
}

// again begins a chain because another daemon has come. The proxy, which has stayed, names
// its last record, signed or not.
func (b *book) again() {
	b.ids++
	last := b.calls.Head()
	b.calls = chain.Chain{ID: fmt.Sprintf("chain%d", b.ids)}
	if err := b.calls.Follow(last); err != nil {
		b.t.Fatal(err)
	}
	*b.last() = b.calls.AppendOpened(*b.last(), chain.Calls, b.now, &last, false)
}

func (b *book) call(n int) {
	for range n {
		*b.last() = b.calls.Append(*b.last(), []byte(`"event":"call","name":"a\"b"`))
	}
}

func (b *book) rotate() {
	head := b.sign()
	b.record(chain.EventRotated, `"file":"/log/%d","head":%s`, len(b.files)-1, headJSON(*head))
	b.files = append(b.files, b.calls.AppendOpened(nil, chain.Calls, b.now, head, true))
}

// whole is a small log with all that occurs.
func whole(t testing.TB) *book {
	b := newBook(t)
	b.proxy()
	b.call(3)
	b.sign()
	b.call(2)
	b.rotate()
	b.call(2)
	b.sign()
	b.proxy()
	b.call(2)
	b.sign()
	b.call(2) // nobody signs them
	b.again()
	b.call(2)
	b.sign()
	return b
}

// logs are files to verify.
type logs struct {
	calls [][]byte
	own   []byte
	head  *chain.Head
	own2  *chain.Head
}

func (b *book) logs() logs {
	own := b.own.Head().Sign(b.key, b.now)
	return logs{append([][]byte{}, b.files...), b.ownFile, b.signed, &own}
}

func (b *book) check(dir string, l logs) *Report {
	in := Input{known: b.known, Key: b.key.Public().(ed25519.PublicKey), CallsHead: l.head, DaemonHead: l.own2}
	for i, content := range l.calls {
		in.Calls = append(in.Calls, filepath.Join(dir, fmt.Sprint(i)))
		b.write(in.Calls[i], content)
	}
	if l.own != nil {
		in.Daemon = []string{filepath.Join(dir, "own")}
		b.write(in.Daemon[0], l.own)
	}
	r, err := Check(in)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// write writes a file unless it is so already.
func (b *book) write(path string, content []byte) {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func texts(found []Finding) string {
	var out strings.Builder
	for _, f := range found {
		fmt.Fprintln(&out, f)
	}
	return out.String()
}

func TestWholeLogIsGood(t *testing.T) {
	t.Parallel()
	b := whole(t)
	r := b.check(t.TempDir(), b.logs())
	if !r.Good() || len(r.Notes) > 0 || r.Records != 17+7 {
		t.Errorf("got %d records, problems\n%snotes\n%s", r.Records, texts(r.Problems), texts(r.Notes))
	}
}

// What is found is shown to root, on a terminal. A captured proxy may call its chain what
// it likes.
func TestChainsHaveNoNameThatSteersTerminals(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	b.proxy()
	b.call(2)
	b.sign()
	b.calls = chain.Chain{ID: "a\x1b[2J"}
	if err := b.calls.Follow(*b.signed); err != nil {
		t.Fatal(err)
	}
	*b.last() = b.calls.AppendOpened(*b.last(), chain.Calls, b.now, b.signed, false)
	b.call(2)
	r := b.check(t.TempDir(), b.logs())
	if r.Good() {
		t.Error("such a log is good")
	}
	if shown := texts(r.Problems) + texts(r.Notes); strings.Contains(shown, "\x1b") {
		t.Errorf("got %q", shown)
	}
}

// alterations are all small changes of a file, but for those that are none.
func alterations(content []byte, each func(what string, altered []byte)) {
	for i := range content {
		altered := bytes.Clone(content)
		altered[i] ^= 1 << (i % 8)
		each(fmt.Sprintf("byte %d changed", i), altered)
		each(fmt.Sprintf("cut at %d", i), content[:i])
		if i%5 > 0 { // these are much like those
			continue
		}
		each(fmt.Sprintf("byte %d inserted", i), append(append(bytes.Clone(content[:i]), 'x'), content[i:]...))
		each(fmt.Sprintf("byte %d removed", i), append(bytes.Clone(content[:i]), content[i+1:]...))
	}
	lines := bytes.SplitAfter(content, []byte("\n"))
	lines = lines[:len(lines)-1]
	for i := range lines {
		without := append(append([][]byte{}, lines[:i]...), lines[i+1:]...)
		each(fmt.Sprintf("line %d removed", i+1), bytes.Join(without, nil))
		for j := range len(lines) + 1 {
			if j <= len(without) && j != i {
				moved := append(append(append([][]byte{}, without[:j]...), lines[i]), without[j:]...)
				each(fmt.Sprintf("line %d moved to %d", i+1, j+1), bytes.Join(moved, nil))
			}
			doubled := append(append(append([][]byte{}, lines[:j]...), lines[i]), lines[j:]...)
			each(fmt.Sprintf("line %d doubled at %d", i+1, j+1), bytes.Join(doubled, nil))
			if j < i {
				swapped := append([][]byte{}, lines...)
				swapped[i], swapped[j] = swapped[j], swapped[i]
				each(fmt.Sprintf("lines %d and %d swapped", i+1, j+1), bytes.Join(swapped, nil))
			}
		}
	}
}

// TestEveryAlterationIsFound alters each file in every small way.
func TestEveryAlterationIsFound(t *testing.T) {
	t.Parallel()
	b := whole(t)
	good := b.logs()
	dir, n := t.TempDir(), 0
	b.known = map[chain.Head]bool{} // verifying the same again takes most of the time
	for i, content := range good.calls {
		alterations(content, func(what string, altered []byte) {
			n++
			l := good
			l.calls = append([][]byte{}, good.calls...)
			l.calls[i] = altered
			judge(t, fmt.Sprintf("calls %d, %s", i, what), content, altered, b.check(dir, l))
		})
	}
	alterations(good.own, func(what string, altered []byte) {
		n++
		l := good
		l.own = altered
		judge(t, "daemon, "+what, good.own, altered, b.check(dir, l))
	})
	t.Logf("%d alterations", n)
}

// judge wants an alteration found. One that but adds or takes an end of the last
// line is a note.
func judge(t *testing.T, what string, content, altered []byte, r *Report) {
	t.Helper()
	atEnd := bytes.Equal(bytes.TrimRight(altered, "\n"), bytes.TrimRight(content, "\n"))
	if r.Good() && !bytes.Equal(content, altered) && (!atEnd || len(r.Notes) == 0) {
		t.Errorf("%s: not found; notes\n%s", what, texts(r.Notes))
	}
}

func TestAlterationsAreNamed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		alter func(*book, *logs)
		want  string
	}{
		{"changed", func(_ *book, l *logs) { l.calls[0] = bytes.Replace(l.calls[0], []byte(`a\"b`), []byte(`a\"c`), 1) },
			"0:2: record 2: was changed: its text has not the hash that it had\n"},
		{"removed", func(_ *book, l *logs) {
			l.calls[0] = edit(l.calls[0], func(x [][]byte) [][]byte { return append(x[:2:2], x[3:]...) })
		},
			"0:3: record 4: record 3 is missing before it: removed, or moved\n"},
		{"swapped", func(_ *book, l *logs) {
			l.calls[0] = edit(l.calls[0], func(x [][]byte) [][]byte { x[2], x[3] = x[3], x[2]; return x })
		}, "0:3: record 4: record 3 is missing before it: removed, or moved\n" +
			"0:4: record 3: is not in its place after record 4: it was moved, inserted or doubled, or is of another log\n"},
		{"doubled", func(_ *book, l *logs) {
			l.calls[0] = edit(l.calls[0], func(x [][]byte) [][]byte { return append(x[:3:3], x[2:]...) })
		}, "0:4: record 3: is there twice\n"},
		{"truncated", func(_ *book, l *logs) {
			l.calls[1] = edit(l.calls[1], func(x [][]byte) [][]byte { return x[:len(x)-1] })
		},
			"1:12: record 2: the chain ends here, but record 3 was there when it was signed on 2026-01-02 03:04:10Z: record 3 is missing, removed or truncated\n"},
		{"last chain removed", func(_ *book, l *logs) { l.calls[1] = edit(l.calls[1], func(x [][]byte) [][]byte { return x[:3] }) },
			"1:3: record 3 of chain chain3 was signed on 2026-01-02 03:04:10Z, and nothing of that chain is here: the end of the log is missing\n"},
		{"rewritten where nothing was signed", func(b *book, l *logs) {
			l.calls[1] = edit(l.calls[1], func(x [][]byte) [][]byte { x[8] = b.forge(x[7], 4); return x })
		}, "1:11: record 1: does not follow the record before it: either is not the one that was written\n"},
		{"added where nothing was signed", func(b *book, l *logs) {
			l.calls[1] = edit(l.calls[1], func(x [][]byte) [][]byte { return slices.Insert(x, 9, b.forge(x[8], 5)) })
		}, "1:12: record 1: goes on from record 5 of chain chain2, which ends here with 6\n"},
		{"backup removed", func(_ *book, l *logs) { l.calls[0] = nil },
			"0: the daemon put this file aside and did not delete it, but it is not here: all of its records are missing\n"},
		{"rewritten without the key", func(b *book, l *logs) {
			forged := newBook(b.t)
			forged.calls.ID, forged.files = "chain1", [][]byte{nil}
			*forged.last() = forged.calls.AppendOpened(nil, chain.Calls, b.now, nil, true)
			forged.call(6)
			l.calls[0] = bytes.ReplaceAll(forged.files[0], []byte("2026"), []byte("2025"))
			forged = newBook(b.t)
			forged.calls.ID = "chain1"
			text := forged.calls.AppendOpened(nil, chain.Calls, b.now, nil, true)
			for range 5 {
				text = forged.calls.Append(text, []byte(`"event":"call","name":"other"`))
			}
			l.calls[0] = text
		}, "0:4: record 4: is not the one that was signed on 2026-01-02 03:04:06Z: it or a record before it was replaced\n" +
			"0:6: record 6: is not the one that was signed on 2026-01-02 03:04:07Z: it or a record before it was replaced\n" +
			"1:1: record 7: does not follow the record before it: either is not the one that was written\n"},
		{"another key", func(b *book, l *logs) {
			_, b.key, _ = ed25519.GenerateKey(nil)
			l.head, l.own2 = nil, nil
		}, "own:5: record 5: the signature of a head is not good: it was changed, or another key made it\n"},
		{"the wrong head", func(b *book, l *logs) {
			h := chain.Head{Chain: "chain2", Sequence: 3, Hash: strings.Repeat("0", 64)}.Sign(b.key, b.now)
			l.head = &h
		}, "is not the one that was signed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := whole(t)
			l := b.logs()
			tt.alter(b, &l)
			dir := t.TempDir()
			got := strings.ReplaceAll(texts(b.check(dir, l).Problems), dir+"/", "")
			if !strings.Contains(got, tt.want) {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

// forge makes a record that follows another one, which is the nth of its chain.
func (b *book) forge(line []byte, n uint64) []byte {
	end := bytes.LastIndexByte(bytes.TrimSpace(line), '"')
	forged := chain.Chain{}
	if err := forged.Follow(chain.Head{Hash: string(line[end-chain.HashLength : end])}); err != nil {
		b.t.Fatal(err)
	}
	forged.Sequence = n
	return forged.Append(nil, []byte(`"event":"call","name":"another"`))
}

func edit(content []byte, change func([][]byte) [][]byte) []byte {
	lines := bytes.SplitAfter(content, []byte("\n"))
	return bytes.Join(change(lines[:len(lines)-1]), nil)
}

// TestWithoutAnAttacker is about what also comes about without one.
func TestWithoutAnAttacker(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		make  func(*book) logs
		notes string
	}{
		{"crash in a record", func(b *book) logs {
			b.call(2)
			whole := len(*b.last())
			b.call(1)
			*b.last() = (*b.last())[:whole+70]
			b.proxy()
			b.call(1)
			b.sign()
			return b.logs()
		}, "half a record, as a crash leaves it; what follows begins anew"},
		{"crash after a record", func(b *book) logs { b.call(2); b.proxy(); b.sign(); return b.logs() }, ""},
		{"twice without a signature", func(b *book) logs {
			b.proxy()
			b.call(1)
			b.proxy()
			b.call(1)
			b.sign()
			return b.logs()
		}, ""},
		{"running", func(b *book) logs { b.call(2); return b.logs() }, "records 4 to 5 are not signed yet"},
		{"a chain without a signature", func(b *book) logs { b.proxy(); return b.logs() }, "what chain chain4 has is not signed yet"},
		{"another daemon, twice", func(b *book) logs {
			b.call(1)
			b.again()
			b.again()
			b.sign()
			return b.logs()
		}, ""},
		{"cut now", func(b *book) logs { b.call(1); *b.last() = (*b.last())[:len(*b.last())-20]; return b.logs() }, "half a record"},
		{"rotated away", func(b *book) logs {
			b.record(chain.EventDeleted, `"file":"/log/0"`)
			l := b.logs()
			l.calls[0] = nil
			return l
		}, "the log begins here: what came before was put aside; it ended with record 6"},
		{"rotated away, and twice without a signature", func(b *book) logs {
			b.rotate()
			b.files[2] = nil
			b.proxy()
			b.call(1)
			b.proxy()
			b.sign()
			b.record(chain.EventDeleted, `"file":"/log/0"`)
			b.record(chain.EventDeleted, `"file":"/log/1"`)
			l := b.logs()
			l.calls[0], l.calls[1] = nil, nil
			return l
		}, "it ended with record 3"},
		{"without the daemon's log", func(b *book) logs { l := b.logs(); l.own, l.own2, l.head = nil, nil, nil; return l }, "no signed head says how far"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := whole(t)
			r := b.check(t.TempDir(), tt.make(b))
			if got := texts(r.Notes); !r.Good() || !strings.Contains(got, tt.notes) || tt.notes == "" && got != "" {
				t.Errorf("got problems\n%snotes\n%swant %q", texts(r.Problems), got, tt.notes)
			}
		})
	}
}

func FuzzCheck(f *testing.F) {
	b := whole(f)
	l := b.logs()
	f.Add(l.calls[0], l.own)
	f.Add(l.calls[1], l.own)
	f.Add([]byte(chain.LineStart), []byte("\n\n"))
	dir := f.TempDir()
	f.Fuzz(func(_ *testing.T, calls, own []byte) {
		altered := logs{[][]byte{calls, l.calls[1]}, own, l.head, l.own2}
		b.check(dir, altered)
	})
}
