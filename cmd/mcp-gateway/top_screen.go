package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"mcpgateway/proxy/report"
)

// screen is what top shows and what its keys do: it knows no terminal.
type topScreen struct {
	width, height int
	colours       bool

	before, now snapshot
	rows        []topRow
	order       int    // of topOrders
	at          topKey // of the row that is chosen
	mode        topMode
	message     string // about what was done last
}

// topKey names a row.
type topKey struct{ server, sandbox string }

// topMode is what the screen shows.
type topMode int

const (
	topList topMode = iota
	topHelp
	topDetail
	topConfirm // whether to restart
)

// topAction is what a key asks for beside another view.
type topAction int

const (
	topNothing topAction = iota
	topQuit
	topLook    // at once
	topRestart // the server that is chosen
)

// take takes what was found.
func (s *topScreen) take(next snapshot) {
	if next.err != nil {
		s.now.err = next.err
		return
	}
	s.before, s.now = s.now, next
	s.rows = next.rows(s.before)
	s.sort()
}

func (s *topScreen) sort() {
	slices.SortStableFunc(s.rows, topOrders()[s.order].compare)
	if s.chosen() < 0 && len(s.rows) > 0 {
		s.choose(0)
	}
}

// chosen is the index of the row that is chosen; -1 if it is not there any more.
func (s *topScreen) chosen() int {
	at := slices.IndexFunc(s.rows, func(r topRow) bool { return topKey{r.Server, r.Sandbox} == s.at })
	if at < 0 { // its sandbox is gone, or has come
		at = slices.IndexFunc(s.rows, func(r topRow) bool { return r.Server == s.at.server })
	}
	return at
}

func (s *topScreen) choose(i int) {
	if len(s.rows) == 0 {
		return
	}
	row := s.rows[min(max(0, i), len(s.rows)-1)]
	s.at = topKey{row.Server, row.Sandbox}
}

// looksAt is the server whose details are shown; "" for none.
func (s *topScreen) looksAt() string {
	if s.mode == topDetail {
		return s.at.server
	}
	return ""
}

// key does what a key is for.
func (s *topScreen) key(key string) topAction {
	if key == "ctrl-c" {
		return topQuit
	}
	switch s.mode {
	case topConfirm:
		s.mode = topList
		if key == "y" {
			s.message = "restarting " + s.at.server
			return topRestart
		}
		s.message = "nothing was done"
		return topNothing
	case topHelp, topDetail:
		switch key {
		case "q", "esc", "enter", "?", "left":
			s.mode = topList
		case "r":
			s.mode = topConfirm
		}
		return topNothing
	case topList:
	}
	return s.keyInList(key)
}

func (s *topScreen) keyInList(key string) topAction {
	s.message = ""
	page := max(1, s.height-6)
	switch key {
	case "q":
		return topQuit
	case "up", "k":
		s.choose(s.chosen() - 1)
	case "down", "j":
		s.choose(s.chosen() + 1)
	case "page-up":
		s.choose(s.chosen() - page)
	case "page-down":
		s.choose(s.chosen() + page)
	case "home", "g":
		s.choose(0)
	case "end", "G":
		s.choose(len(s.rows) - 1)
	case "s":
		s.order = (s.order + 1) % len(topOrders())
		s.sort()
	case "?", "h":
		s.mode = topHelp
	case "enter", "right":
		if s.at.server != "" {
			s.mode = topDetail
			s.now.detail, s.now.lines = nil, nil
			return topLook
		}
	case "r":
		if s.at.server != "" {
			s.mode = topConfirm
		}
	}
	return topNothing
}

// view is the lines of the screen, which fit it.
func (s *topScreen) view() []string {
	lines := []string{cut(s.heading(), s.width), ""}
	switch s.mode {
	case topHelp:
		lines = append(lines, topHelpText()...)
	case topDetail:
		lines = append(lines, s.detail()...)
	case topList, topConfirm:
		lines = append(lines, s.list()...)
	}
	footer := s.footer()
	if room := max(1, s.height-1); len(lines) > room {
		lines = lines[:room]
	}
	for len(lines) < s.height-1 {
		lines = append(lines, "")
	}
	return append(lines, cut(footer, s.width))
}

func (s *topScreen) heading() string {
	if s.now.err != nil {
		return shown(s.now.err.Error())
	}
	if s.now.at.IsZero() {
		return "asking the gateway…"
	}
	return s.now.summary(s.before, s.rows).String()
}

func (s *topScreen) footer() string {
	switch {
	case s.mode == topConfirm:
		return fmt.Sprintf("restart server %s? Calls in flight are finished. y: yes, any other key: no", shown(s.at.server))
	case s.message != "":
		return shown(s.message)
	case s.mode == topDetail:
		return "q: back   r: restart"
	case s.mode == topHelp:
		return "q: back"
	}
	return fmt.Sprintf("by %s   q: quit   j/k: move   Enter: details   s: sort   r: restart   ?: help", topOrders()[s.order].name)
}

func topHelpText() []string {
	return strings.Split(`Up, k          the row above
Down, j        the row below
Page up/down   a screen up or down
g, G           the first, the last row
s              sort by CPU, memory, calls or name
Enter          a server's details, and what it writes to its standard error
r              restart the server of the row: replicas one after the other, and
               calls in flight are finished
q, Ctrl-C      quit

CPU% is of one core. CALLS/S, P95 and ERRORS are those of the whole server, of
the last second and of the last five minutes.`, "\n")
}

// list is the table, of which the row that is chosen is always seen.
func (s *topScreen) list() []string {
	var b bytes.Buffer
	t := newTable(&b, topHeadings()...)
	t.colours = s.colours
	for _, row := range s.rows {
		t.row(row.cells()...)
	}
	if err := t.flush(); err != nil { // a buffer takes all
		return []string{shown(err.Error())}
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	chosen, room := s.chosen(), max(1, s.height-4)
	first := max(0, chosen-room+1)
	shownLines := []string{"  " + clip(lines[0], s.width-2)}
	for i, line := range lines[1:] {
		if i < first || i >= first+room {
			continue
		}
		mark := "  "
		if i == chosen {
			mark = "> "
		}
		shownLines = append(shownLines, mark+clip(line, s.width-2))
	}
	return shownLines
}

// clip cuts a line that may have colours to so many characters that show.
func clip(line string, most int) string {
	var b strings.Builder
	shows := 0
	escape := false
	for _, r := range line {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		case shows >= most:
			continue
		default:
			shows++
		}
		b.WriteRune(r)
	}
	return b.String()
}

// detail is a server, and below it the newest lines that it wrote.
func (s *topScreen) detail() []string {
	if s.now.detail == nil {
		return []string{"asking about " + shown(s.at.server) + "…"}
	}
	var b bytes.Buffer
	if err := printServer(&b, *s.now.detail, s.now.at); err != nil { // a buffer takes all
		return []string{shown(err.Error())}
	}
	var lines []string
	for line := range strings.Lines(b.String()) {
		lines = append(lines, cut(strings.TrimSuffix(line, "\n"), s.width))
	}
	if most := max(1, s.height/2); len(lines) > most { // what it writes is why people look
		lines = lines[:most]
	}
	lines = append(lines, "", "standard error:")
	room := max(0, s.height-3-len(lines))
	written := s.now.lines[max(0, len(s.now.lines)-room):]
	for _, line := range written {
		lines = append(lines, cut(logText(line), s.width))
	}
	if len(written) == 0 {
		lines = append(lines, "(nothing)")
	}
	return lines
}

func logText(line report.Line) string {
	return line.Time.Local().Format(time.TimeOnly) + " " + shown(line.Text)
}
