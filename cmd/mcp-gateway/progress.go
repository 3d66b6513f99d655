package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	barWidth  = 30
	barPeriod = 100 * time.Millisecond // between two states that are drawn
	eraseLine = "\r\x1b[K"
)

// progress shows how far long work is, on one line of a terminal that is erased at the
// end. The cursor stays at its beginning, so that what others write covers it. Where there
// is no terminal it shows nothing. One goroutine may use it.
type progress struct {
	out         io.Writer // nil: nobody looks
	what        string
	done, total int64
	drawn       time.Time
}

// newProgress begins with work of so many bytes.
func newProgress(out io.Writer, what string, total int64) *progress {
	if !isTerminal(out) {
		out = nil
	}
	return &progress{out: out, what: what, total: total}
}

// add says that so many more bytes are done.
func (p *progress) add(n int) {
	p.done += int64(n)
	if p.out == nil || time.Since(p.drawn) < barPeriod {
		return
	}
	p.drawn = time.Now()
	_, _ = io.WriteString(p.out, eraseLine+bar(p.what, p.done, p.total)+"\r") // a terminal that is gone looks no more
}

// say draws a state in words.
func (p *progress) say(format string, args ...any) {
	if p.out != nil {
		fmt.Fprintf(p.out, eraseLine+"%s: %s\r", p.what, fmt.Sprintf(format, args...))
		p.drawn = time.Now()
	}
}

// end erases the line, if there is one.
func (p *progress) end() {
	if !p.drawn.IsZero() {
		_, _ = io.WriteString(p.out, eraseLine)
		p.drawn = time.Time{}
	}
}

// watched reports whether anybody looks.
func (p *progress) watched() bool { return p.out != nil }

// bar is a state in one line. A file may have grown meanwhile.
func bar(what string, done, total int64) string {
	share := 1.0
	if total > 0 {
		share = min(1, float64(done)/float64(total))
	}
	full := int(share * barWidth)
	return fmt.Sprintf("%s [%s%s] %3d%%", what, strings.Repeat("#", full), strings.Repeat("-", barWidth-full), int(share*100))
}
