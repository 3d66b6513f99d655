package verify

import (
	"fmt"
	"strings"

	"mcpgateway/policy/chain"
)

// walker follows the chains of one log from its first record to its last.
type walker struct {
	*signatures
	log  string
	file string
	line int

	started  bool
	chain    string
	sequence uint64 // of the record before
	hash     string // and its hash; "": it is not known, for something was wrong
	passed   []segment

	half  Finding // what looks like half a record; told of once it is known what comes after
	blank bool    // the line before is empty
	apart bool    // it is, or is half a record: a chain may begin
}

// segment is a chain that came before.
type segment struct {
	chain string
	last  uint64
}

// walk verifies one log.
func walk(log string, files []string, newest *chain.Head, s *signatures) error {
	w := &walker{signatures: s, log: log}
	for _, file := range files {
		w.file, w.line, w.blank = file, 0, false
		if err := eachLine(file, s.tell, w.next); err != nil {
			return err
		}
		w.endFile()
	}
	w.endChain()
	w.finish(newest)
	return nil
}

func (w *walker) at(sequence uint64) Finding {
	return Finding{File: w.file, Line: w.line, Sequence: sequence}
}

func (w *walker) problem(sequence uint64, format string, args ...any) {
	f := w.at(sequence)
	f.Text = fmt.Sprintf(format, args...)
	w.report.problem(f)
}

func (w *walker) note(sequence uint64, format string, args ...any) {
	f := w.at(sequence)
	f.Text = fmt.Sprintf(format, args...)
	w.report.note(f)
}

// next takes a line.
func (w *walker) next(n int, text []byte, ended bool) {
	w.line = n
	l, err := parse(text)
	var e event
	if err == nil && l.whole {
		e = l.event()
	}
	opens := e.Event == chain.EventOpened
	w.apart = w.blank || w.half.Line > 0
	w.judgeHalf(opens)
	if n == 1 && !opens && len(text) > 0 {
		w.problem(0, "the file does not begin with the line that opens it: its beginning is missing, or was changed")
	}
	if w.blank && !opens {
		w.problem(0, "the line before is empty: it was inserted, or emptied")
	}
	if w.blank = len(text) == 0; w.blank && n == 1 {
		w.problem(0, "an empty line was inserted")
	}
	switch {
	case w.blank:
	case err != nil && isTorn(text):
		w.half = w.at(0)
	case err != nil:
		w.problem(w.sequence+1, "was changed: this is no record")
		w.sequence, w.hash = w.sequence+1, ""
	case !l.whole:
		w.problem(l.sequence, "was changed: its text has not the hash that it had")
		w.sequence, w.hash = l.sequence, ""
	case opens:
		w.report.Records++
		w.open(l, e)
	default:
		w.report.Records++
		w.follow(l)
	}
	if !ended && err == nil {
		w.note(l.sequence, "the end of its line is missing, as a crash leaves it")
	}
}

// judgeHalf says what the half record was that came before.
func (w *walker) judgeHalf(opens bool) {
	if w.half.Line == 0 {
		return
	}
	if opens {
		w.half.Text = "half a record, as a crash leaves it; what follows begins anew"
		w.report.note(w.half)
	} else {
		w.half.Sequence, w.half.Text = w.sequence+1, "was cut: this is but the beginning of a record"
		w.report.problem(w.half)
		w.sequence, w.hash = w.sequence+1, ""
	}
	w.half = Finding{}
}

func (w *walker) endFile() {
	w.judgeHalf(true)
	if w.blank {
		w.note(0, "an empty line at the end, as a crash leaves it")
	}
}

// follow takes a record that goes on with the chain.
func (w *walker) follow(l line) {
	if !w.started {
		w.started, w.sequence, w.hash = true, l.sequence, l.hash // that it does not open the log was told
		return
	}
	expected := w.sequence + 1
	switch {
	case w.hash == "" && (l.sequence == expected || l.sequence == w.sequence):
	case l.sequence > expected:
		w.problem(l.sequence, "%s missing before it: removed, or moved", records(expected, l.sequence-1))
	case l.sequence < expected && l.hash == w.hash:
		w.problem(l.sequence, "is there twice")
		return
	case l.sequence < expected:
		w.problem(l.sequence, "is not in its place after record %d: it was moved, inserted or doubled, or is of another log", w.sequence)
		return
	case l.prev != w.hash:
		w.problem(l.sequence, "does not follow the record before it: either is not the one that was written")
	}
	w.sequence, w.hash = l.sequence, l.hash
	w.compare(l)
}

// compare holds a record against what was signed of it.
func (w *walker) compare(l line) {
	if h, bad := w.contradicts(w.chain, l.sequence, l.hash); bad {
		w.problem(l.sequence, "is not the one that was signed on %s: it or a record before it was replaced", stamp(h))
	}
}

func records(from, to uint64) string {
	if from == to {
		return fmt.Sprintf("record %d is", from)
	}
	return fmt.Sprintf("records %d to %d are", from, to)
}

func stamp(h chain.Head) string { return h.Time.UTC().Format("2006-01-02 15:04:05Z") }

// open takes the first line of a file or of a chain.
func (w *walker) open(l line, e event) {
	if e.Log != w.log {
		w.problem(l.sequence, "is of another log, %.20q", e.Log)
	}
	if w.line > 1 && !w.apart {
		w.problem(l.sequence, "opens a file in the middle of one: the empty line before it was removed, or it was moved")
	}
	if e.After != nil && (e.After.Hash != l.prev || e.After.Chain == e.Chain && e.After.Sequence+1 != l.sequence) {
		w.problem(l.sequence, "contradicts itself: it does not follow the record that it says it does")
	}
	switch {
	case !w.started:
		w.begin(l, e)
	case e.Chain == w.chain:
		w.follow(l)
		return
	default:
		w.endChain()
		w.judgeStart(l, e)
	}
	w.started, w.chain, w.sequence, w.hash = true, e.Chain, l.sequence, l.hash
	w.compare(l)
}

// begin judges the first line of the log.
func (w *walker) begin(l line, e event) {
	switch {
	case e.After == nil && l.sequence == 1 && strings.Trim(l.prev, "0") == "":
	case e.After != nil && w.signed(*e.After):
		w.note(l.sequence, "the log begins here: what came before was put aside; it ended with record %d of chain %s, signed on %s",
			e.After.Sequence, e.After.Chain, stamp(*e.After))
		w.passed = append(w.passed, segment{e.After.Chain, e.After.Sequence})
	default:
		w.problem(l.sequence, "the log begins here, and nothing that is signed says so: what came before is missing")
	}
}

// judgeStart judges the first line of another chain than the one before.
func (w *walker) judgeStart(l line, e event) {
	if l.sequence != 1 {
		w.problem(l.sequence, "begins another chain in the middle: %s missing", records(1, l.sequence-1))
	}
	for i := len(w.passed) - 1; i >= 0; i-- {
		before := w.passed[i]
		if e.After != nil && before.chain == e.After.Chain {
			// What is not signed is the last record that there was.
			unsigned := e.After.Signature == ""
			switch {
			case before.last < e.After.Sequence, unsigned && before.last > e.After.Sequence:
				w.problem(l.sequence, "goes on from record %d of chain %s, which ends here with %d", e.After.Sequence, before.chain, before.last)
			case unsigned && before.chain == w.chain && w.hash != "" && w.hash != e.After.Hash:
				w.problem(l.sequence, "does not follow the record before it: either is not the one that was written")
			}
			return
		}
		if w.last(before.chain).Sequence > 0 { // then it would go on from that
			break
		}
		if i == 0 && e.After == nil {
			return
		}
	}
	w.problem(l.sequence, "does not go on from what comes before it: a part of the log between is missing, or another log was put here")
}

// endChain tells of records of the chain that were signed and are not there.
func (w *walker) endChain() {
	if !w.started {
		return
	}
	if h := w.last(w.chain); h.Sequence > w.sequence {
		w.problem(w.sequence, "the chain ends here, but record %d was there when it was signed on %s: %s missing, removed or truncated",
			h.Sequence, stamp(h), records(w.sequence+1, h.Sequence))
	}
	w.passed = append(w.passed, segment{w.chain, w.sequence})
}

// finish judges the end of the log.
func (w *walker) finish(newest *chain.Head) {
	if newest == nil {
		w.note(0, "no signed head says how far the log goes: records that were cut off its end would not be missed")
		return
	}
	for _, s := range w.passed {
		if s.chain == newest.Chain {
			if last := w.passed[len(w.passed)-1]; last.chain != newest.Chain {
				w.note(0, "what chain %s has is not signed yet", last.chain)
			} else if last.last > newest.Sequence {
				w.note(last.last, "%s not signed yet", records(newest.Sequence+1, last.last))
			}
			return
		}
	}
	w.problem(0, "record %d of chain %s was signed on %s, and nothing of that chain is here: the end of the log is missing",
		newest.Sequence, newest.Chain, stamp(*newest))
}
