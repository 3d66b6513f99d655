package verify

import (
	"crypto/ed25519"
	"path/filepath"

	"mcpgateway/policy/chain"
)

// maxHeads is how many heads of a chain are remembered. The last one vouches for
// all before; the others only say more exactly where something is wrong.
const maxHeads = 1024

// maxKnown bounds the signatures that are not verified twice.
const maxKnown = 1024

// signatures is what was signed, wherever that is written.
type signatures struct {
	tell   func(bytes int)
	report *Report
	key    ed25519.PublicKey
	known  map[chain.Head]bool     // whether a signature is good, for those that were asked for; bounded
	chains map[string][]chain.Head // good ones
	newest *chain.Head             // of the calls
	aside  map[string]bool         // names of files that were put aside and are not deleted
	read   map[string]bool         // and of those that have a record
}

// add remembers a head, and tells of one whose signature is not good.
func (s *signatures) add(where Finding, head *chain.Head) (good bool) {
	if head == nil {
		return false
	}
	if !s.signed(*head) {
		where.Text = "the signature of a head is not good: it was changed, or another key made it"
		s.report.problem(where)
		return false
	}
	heads := append(s.chains[head.Chain], *head)
	if len(heads) > maxHeads {
		for i := range maxHeads / 2 {
			heads[i] = heads[2*i+1]
		}
		heads = append(heads[:maxHeads/2], *head)
	}
	s.chains[head.Chain] = heads
	return true
}

// signed reports whether a head's signature is good.
func (s *signatures) signed(head chain.Head) bool {
	good, asked := s.known[head]
	if !asked {
		if len(s.known) >= maxKnown {
			clear(s.known)
		}
		good = head.SignedBy(s.key)
		s.known[head] = good
	}
	return good
}

// collect reads the heads in a file. What it finds of other things walk tells.
func (s *signatures) collect(file, log string) error {
	return eachLine(file, s.tell, func(n int, text []byte, _ bool) {
		l, err := parse(text)
		if err != nil {
			return
		}
		s.read[filepath.Base(file)] = true
		e := l.event()
		at := Finding{File: file, Line: n, Sequence: l.sequence}
		switch {
		case e.Event == chain.EventOpened && e.After != nil && e.After.Signature != "":
			s.add(at, e.After)
		case log != chain.Daemon:
		case e.Event == chain.EventCheckpoint:
			if s.add(at, e.Head) && e.Log == chain.Calls {
				s.newest = e.Head
			}
		case e.Event == chain.EventRotated:
			s.add(at, e.Head)
			s.aside[filepath.Base(e.File)] = true
		case e.Event == chain.EventDeleted:
			delete(s.aside, filepath.Base(e.File))
		}
	})
}

// contradicts returns a head that says something else of a record.
func (s *signatures) contradicts(id string, sequence uint64, hash string) (chain.Head, bool) {
	for _, h := range s.chains[id] {
		if h.Sequence == sequence && h.Hash != hash {
			return h, true
		}
	}
	return chain.Head{}, false
}

// last is the head of a chain with the highest number.
func (s *signatures) last(id string) (last chain.Head) {
	for _, h := range s.chains[id] {
		if h.Sequence > last.Sequence {
			last = h
		}
	}
	return last
}
