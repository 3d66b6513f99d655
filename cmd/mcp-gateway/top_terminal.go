package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Sequences of terminals (ECMA-48, and what xterm added).
const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l" // another screen, no cursor, no wrapping
	leaveScreen = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	goHome      = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// fullScreen is a terminal whose keys come one by one, and whose screen is ours until
// close.
type fullScreen struct {
	in, out *os.File
	before  *unix.Termios
}

func openScreen(in, out *os.File) (*fullScreen, error) {
	before, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("read the terminal's settings: %w", err)
	}
	raw := *before
	// Signals by keys would end the program without restoring the terminal.
	raw.Lflag &^= unix.ICANON | unix.ECHO | unix.IEXTEN | unix.ISIG
	raw.Iflag &^= unix.IXON
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 0, 1 // a read ends after a tenth of a second
	if err := unix.IoctlSetTermios(int(in.Fd()), unix.TCSETS, &raw); err != nil {
		return nil, fmt.Errorf("set the terminal: %w", err)
	}
	s := &fullScreen{in, out, before}
	if _, err := out.WriteString(enterScreen); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// close gives the terminal back as it was.
func (s *fullScreen) close() {
	_, _ = s.out.WriteString(leaveScreen) // if it is gone there is nothing to restore
	_ = unix.IoctlSetTermios(int(s.in.Fd()), unix.TCSETSF, s.before)
}

// size is how many columns and lines there are.
func (s *fullScreen) size() (width, height int) {
	size, err := unix.IoctlGetWinsize(int(s.out.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 || size.Row == 0 {
		return screenColumns, screenLines
	}
	return int(size.Col), int(size.Row)
}

func (s *fullScreen) draw(lines []string) error {
	var b strings.Builder
	b.WriteString(goHome)
	for i, line := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(line + clearLine)
	}
	b.WriteString(clearBelow)
	_, err := s.out.WriteString(b.String())
	return err
}

// keys sends what is pressed until ctx ends or the terminal is gone.
func (s *fullScreen) keys(ctx context.Context, pressed chan<- string) {
	defer close(pressed)
	buffer := make([]byte, 256)
	for ctx.Err() == nil {
		n, err := unix.Read(int(s.in.Fd()), buffer)
		if err != nil && err != unix.EINTR {
			return
		}
		for _, key := range parseKeys(buffer[:max(0, n)]) {
			select {
			case pressed <- key:
			case <-ctx.Done():
				return
			}
		}
	}
}

// parseKeys names the keys of what a terminal sent at a time. What it does not know is
// left out.
func parseKeys(sent []byte) (keys []string) {
	names := []struct{ sequence, name string }{
		{"\x1b[A", "up"}, {"\x1b[B", "down"}, {"\x1b[C", "right"}, {"\x1b[D", "left"},
		{"\x1bOA", "up"}, {"\x1bOB", "down"}, {"\x1bOC", "right"}, {"\x1bOD", "left"},
		{"\x1b[5~", "page-up"}, {"\x1b[6~", "page-down"}, {"\x1b[H", "home"}, {"\x1b[F", "end"},
		{"\r", "enter"}, {"\n", "enter"}, {"\x03", "ctrl-c"},
	}
	rest := string(sent)
next:
	for rest != "" {
		for _, n := range names {
			if after, ok := strings.CutPrefix(rest, n.sequence); ok {
				keys, rest = append(keys, n.name), after
				continue next
			}
		}
		switch {
		case rest == "\x1b":
			return append(keys, "esc")
		case rest[0] == '\x1b': // a sequence that nobody needs, to its end
			end := strings.IndexFunc(rest[1:], func(r rune) bool { return r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '~' })
			rest = rest[min(len(rest), end+2):]
			if end < 0 {
				return keys
			}
		default:
			if rest[0] > ' ' && rest[0] < 0x7f {
				keys = append(keys, rest[:1])
			}
			rest = rest[1:]
		}
	}
	return keys
}

// watchTop shows top on a terminal until somebody ends it, and gives the terminal back
// whatever happens.
func watchTop(parent context.Context, state string, in, out *os.File) error {
	ctx, stop := signal.NotifyContext(parent, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	defer stop()
	screen, err := openScreen(in, out)
	if err != nil {
		return err
	}
	defer screen.close()
	w := &topWatch{
		fullScreen: screen, state: state, screen: topScreen{colours: showsColours(out)},
		found: make(chan snapshot), done: make(chan string), resized: make(chan os.Signal, 1),
	}
	signal.Notify(w.resized, unix.SIGWINCH)
	defer signal.Stop(w.resized)
	ctx, cancel := context.WithCancel(ctx)
	defer w.running.Wait()
	defer cancel()
	return w.run(ctx)
}

// topWatch is top on a terminal.
type topWatch struct {
	*fullScreen
	state   string
	screen  topScreen
	looking bool
	found   chan snapshot
	done    chan string // what became of an action
	resized chan os.Signal
	running sync.WaitGroup
}

func (w *topWatch) run(ctx context.Context) error {
	pressed := make(chan string)
	w.running.Go(func() { w.keys(ctx, pressed) })
	tick := time.NewTicker(topEvery)
	defer tick.Stop()
	w.look(ctx)
	for {
		w.screen.width, w.screen.height = w.size()
		if err := w.draw(w.screen.view()); err != nil {
			return fmt.Errorf("draw: %w", err)
		}
		select {
		case key, ok := <-pressed:
			if !ok || w.press(ctx, key) {
				return nil
			}
		case next := <-w.found:
			w.looking = false
			w.screen.take(next)
		case message := <-w.done:
			w.screen.message = message
		case <-tick.C:
			w.look(ctx)
		case <-w.resized:
		case <-ctx.Done():
			return nil
		}
	}
}

// press does what a key is for, and reports whether that is the end.
func (w *topWatch) press(ctx context.Context, key string) (quit bool) {
	switch w.screen.key(key) {
	case topQuit:
		return true
	case topLook:
		w.look(ctx)
	case topRestart:
		w.restart(ctx, w.screen.at.server)
	case topNothing:
	}
	return false
}

// look asks the gateway, unless somebody does.
func (w *topWatch) look(ctx context.Context) {
	if w.looking {
		return
	}
	w.looking = true
	server := w.screen.looksAt()
	w.running.Go(func() {
		next := look(ctx, w.state, server)
		select {
		case w.found <- next:
		case <-ctx.Done():
		}
	})
}

func (w *topWatch) restart(ctx context.Context, server string) {
	w.running.Go(func() {
		message := "restarted " + server
		if _, err := actOn(ctx, w.state, server, "restart"); err != nil {
			message = fmt.Sprintf("restart %s: %v", server, err)
		}
		select {
		case w.done <- message:
		case <-ctx.Done():
		}
	})
}
