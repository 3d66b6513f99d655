package daemon

import (
	"io"
	"os"
	"testing"
)

func TestStreams(t *testing.T) {
	for name, pipes := range map[string]bool{"sockets": false, "pipes": true} {
		t.Run(name, func(t *testing.T) {
			s, err := newStreams(pipes)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { closeFiles(append(s.own, s.outside...)) })
			if len(s.own) != 3 || len(s.outside) != 3 {
				t.Fatalf("got %d and %d files, want 3 each", len(s.own), len(s.outside))
			}
			pass(t, s.outside[0], s.inside.Stdin)
			pass(t, s.inside.Stdout, s.outside[1])
			pass(t, s.inside.Stderr, s.outside[2])
			in, err := s.inside.Stdin.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if out, err := s.inside.Stdout.Stat(); err != nil || os.SameFile(in, out) {
				t.Errorf("input and output are one file (%v): each answer that is read wakes the server", err)
			}
		})
	}
}

func pass(t *testing.T, from, to *os.File) {
	t.Helper()
	if _, err := from.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(to, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}
