package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// pty is a terminal, and what a program showed on it.
type pty struct {
	keys *os.File // the side of who looks and types
	tty  *os.File // the program's side
	mu   sync.Mutex
	seen bytes.Buffer
	read chan struct{} // closed when there is no more
}

func openPTY(t *testing.T) *pty {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(keys.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(keys.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := &pty{keys: keys, tty: tty, read: make(chan struct{})}
	p.resize(t, 100, 40)
	go func() {
		defer close(p.read)
		buffer := make([]byte, 4096)
		for {
			n, err := keys.Read(buffer)
			p.mu.Lock()
			p.seen.Write(buffer[:n])
			p.mu.Unlock()
			if err != nil { // EIO: nobody has the other side open
				return
			}
		}
	}()
	t.Cleanup(func() {
		tty.Close()
		<-p.read
		keys.Close()
	})
	return p
}

func (p *pty) resize(t *testing.T, columns, rows uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(p.keys.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		t.Fatal(err)
	}
}

func (p *pty) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen.String()
}

// shows waits until the program shows a text, after what it has shown by now.
func (p *pty) shows(t *testing.T, press, text string) {
	t.Helper()
	before := len(p.text())
	if _, err := p.keys.WriteString(press); err != nil {
		t.Fatal(err)
	}
	eventually(t, fmt.Sprintf("top shows %q after %q", text, press), func() bool { return strings.Contains(p.text()[before:], text) })
}

func (p *pty) settings(t *testing.T) unix.Termios {
	t.Helper()
	settings, err := unix.IoctlGetTermios(int(p.tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *settings
}

// start runs a program on the terminal.
func (p *pty) start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.tty, p.tty, p.tty
	cmd.Env = append(os.Environ(), "TERM=xterm")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it may be gone, as it should
}

// top takes keys, follows the size of its terminal, and gives the terminal back as it
// was, whatever ends it.
func TestTopOnATerminal(t *testing.T) {
	t.Parallel()
	g := start(t, servers(testserver("one", "instances: shared"), testserver("two", "env: {LINE: hello}")))
	s := g.open(t, "two")
	s.ask(t, "tell", map[string]any{"names": []string{"LINE"}, "how": "stderr"})
	g.cli(t, "tools", "call", "one", "echo")
	ends := map[string]func(*pty, *exec.Cmd) error{
		"q":       func(p *pty, _ *exec.Cmd) error { _, err := p.keys.WriteString("q"); return err },
		"Ctrl-C":  func(p *pty, _ *exec.Cmd) error { _, err := p.keys.WriteString("\x03"); return err },
		"SIGTERM": func(_ *pty, cmd *exec.Cmd) error { return cmd.Process.Signal(unix.SIGTERM) },
		"SIGHUP":  func(_ *pty, cmd *exec.Cmd) error { return cmd.Process.Signal(unix.SIGHUP) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			p := openPTY(t)
			before := p.settings(t)
			cmd := g.command("top")
			p.start(t, cmd)
			p.shows(t, "", "> one")
			if name == "q" {
				p.shows(t, "", " 2 sandboxes") // those that one had before are gone
				p.keyed(t)
				one := g.instances(t, "one")
				p.shows(t, "g", "> one")
				p.shows(t, "r", "restart server one?")
				p.shows(t, "y", "restarted one")
				eventually(t, "another instance", func() bool {
					now := g.instances(t, "one")
					return len(now) == 1 && now[0].launcher != one[0].launcher
				})
			}
			if err := end(p, cmd); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("it ended with %v, want status 0", err)
			}
			if after := p.settings(t); after != before {
				t.Errorf("the terminal has the settings %+v, want %+v", after, before)
			}
			eventually(t, "the screen is given back", func() bool { return strings.HasSuffix(p.text(), "\x1b[?7h\x1b[?25h\x1b[?1049l") })
		})
	}
}

// keyed tries keys.
func (p *pty) keyed(t *testing.T) {
	t.Helper()
	p.shows(t, "?", "CPU% is of one core")
	p.shows(t, "q", "> ")
	p.shows(t, "s", "by memory")
	p.shows(t, "sss", "by CPU")
	p.shows(t, "sss", "by name")
	p.shows(t, "g", "> one")
	p.shows(t, "\x1b[B", "> two")
	p.shows(t, "\r", "hello")
	p.shows(t, "q", "> two")
	p.shows(t, "r", "restart server two?")
	p.shows(t, "n", "nothing was done")
	p.resize(t, 40, 10)
	p.shows(t, "k", "> one")
	p.resize(t, 100, 40)
}
