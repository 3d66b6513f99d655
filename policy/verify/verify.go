// Package verify finds what was done to an audit log: records that were changed,
// removed, inserted or moved, and an end that is missing. What the log's own
// hashes can't tell, the heads can that the daemon signed. It reads files as a
// stream, trusts nothing in them, and changes nothing.
//
// Runs in: CLI.
package verify

import (
	"crypto/ed25519"
	"fmt"
	"maps"
	"slices"

	"mcpgateway/policy/chain"
)

// Input is what to verify: the files of both logs, the oldest first; either may be
// missing.
type Input struct {
	Calls, Daemon []string
	Key           ed25519.PublicKey
	// The heads that the daemon keeps outside of the log, nil for none.
	CallsHead, DaemonHead *chain.Head
	// Progress, if any, is told of bytes as they are read: each file is read twice.
	Progress func(bytes int)

	known map[chain.Head]bool // whether signatures are good; tests share it
}

// Finding is something about a log.
type Finding struct {
	File     string
	Line     int    // counted from 1; 0: it is about the file, or the log
	Sequence uint64 // of the record; 0: none
	Text     string
}

func (f Finding) String() string {
	where := f.File
	if f.Line > 0 {
		where = fmt.Sprintf("%s:%d", where, f.Line)
	}
	if f.Sequence > 0 {
		where = fmt.Sprintf("%s: record %d", where, f.Sequence)
	}
	return where + ": " + f.Text
}

// maxFindings is how many are told of each kind; the others are counted.
const maxFindings = 200

// Report is what was found.
type Report struct {
	Problems []Finding // nobody but an attacker, or a broken disk, does this
	Notes    []Finding // what also comes about without one
	More     int       // problems that are not listed
	Records  uint64
}

// Good reports whether the logs are as they were written.
func (r *Report) Good() bool { return len(r.Problems) == 0 }

func (r *Report) problem(f Finding) {
	if len(r.Problems) >= maxFindings {
		r.More++
		return
	}
	r.Problems = append(r.Problems, f)
}

func (r *Report) note(f Finding) {
	if len(r.Notes) < maxFindings {
		r.Notes = append(r.Notes, f)
	}
}

// Check verifies. Its error says what could not be read.
func Check(in Input) (*Report, error) {
	r := &Report{}
	if in.known == nil {
		in.known = map[chain.Head]bool{}
	}
	s := &signatures{report: r, tell: in.Progress, key: in.Key, known: in.known, chains: map[string][]chain.Head{}, aside: map[string]bool{}, read: map[string]bool{}}
	// The heads outside come first: the log goes on while this reads it.
	s.add(Finding{File: "the signed heads of the state folder"}, in.CallsHead)
	s.add(Finding{File: "the signed heads of the state folder"}, in.DaemonHead)
	for _, file := range in.Daemon {
		if err := s.collect(file, chain.Daemon); err != nil {
			return nil, err
		}
	}
	for _, file := range in.Calls {
		if err := s.collect(file, chain.Calls); err != nil {
			return nil, err
		}
	}
	if in.CallsHead != nil {
		s.newest = in.CallsHead
	}
	for _, l := range []struct {
		name   string
		files  []string
		newest *chain.Head
	}{{chain.Daemon, in.Daemon, in.DaemonHead}, {chain.Calls, in.Calls, s.newest}} {
		if len(l.files) == 0 {
			continue
		}
		if err := walk(l.name, l.files, l.newest, s); err != nil {
			return nil, err
		}
	}
	s.missing()
	return r, nil
}

// missing tells of files that were put aside, and not deleted by the daemon.
func (s *signatures) missing() {
	for _, name := range slices.Sorted(maps.Keys(s.aside)) {
		if !s.read[name] {
			s.report.problem(Finding{File: name, Text: "the daemon put this file aside and did not delete it, but it is not here: all of its records are missing"})
		}
	}
}
