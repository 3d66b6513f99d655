package backend

import (
	"bytes"
	"io"
	"log/slog"
	"strconv"
	"time"

	"mcpgateway/proxy/redactor"
)

// drainStderr reads a server's standard error until it ends, so that the server
// never blocks on it. Lines go to the log, without the server's secrets, cut and at a
// bounded rate; the last bytes are returned for the log entry of the server's end.
// Nothing of it goes to a client: it may hold what the server keeps to itself.
func (c *Conn) drainStderr(r io.Reader) (tail []byte) {
	lines := cutter{log: c.log, secret: c.secret}
	last := lastBytes{most: maxStderrTail + c.secret.Longest()}
	buffer := make([]byte, 4<<10)
	for {
		n, err := r.Read(buffer)
		lines.write(buffer[:n])
		last.write(buffer[:n])
		clear(buffer[:n])
		if err != nil {
			lines.flush()
			c.redacted.Add(int64(lines.redacted))
			return last.text(c.secret)
		}
	}
}

// lastBytes keeps the last bytes of a stream.
type lastBytes struct {
	most int // more than are shown: a secret that begins before them is whole
	kept []byte
	cut  bool
}

func (l *lastBytes) write(data []byte) {
	if l.kept = append(l.kept, data...); len(l.kept) > 2*l.most {
		l.trim()
	}
}

func (l *lastBytes) trim() {
	if over := len(l.kept) - l.most; over > 0 {
		n := copy(l.kept, l.kept[over:])
		clear(l.kept[n:])
		l.kept, l.cut = l.kept[:n], true
	}
}

// text is what may be shown of it. The rest is forgotten.
func (l *lastBytes) text(secret *redactor.Redactor) []byte {
	l.trim()
	shown, _ := secret.Text(l.kept)
	if l.cut { // its first bytes may be the end of a secret
		shown = shown[min(len(shown), secret.Longest()):]
	}
	shown = bytes.Clone(shown[max(0, len(shown)-maxStderrTail):])
	clear(l.kept)
	return shown
}

// cutter makes lines of a stream and cuts those that are too long.
type cutter struct {
	log      *slog.Logger
	secret   *redactor.Redactor
	redacted int // secrets that were taken out
	throttle throttle
	line     []byte
	cut      bool // there was more of the line
}

func (c *cutter) write(data []byte) {
	for len(data) > 0 {
		part, rest, whole := bytes.Cut(data, []byte("\n"))
		room := maxLoggedLine + c.secret.Longest() - len(c.line)
		c.cut = c.cut || len(part) > room
		c.line = append(c.line, part[:min(len(part), room)]...)
		if whole {
			c.flush()
		}
		data = rest
	}
}

func (c *cutter) flush() {
	if len(c.line) > 0 && c.throttle.allow(time.Now()) {
		text, n := c.secret.Text(c.line)
		if c.cut { // its last bytes may be the beginning of a secret
			text = text[:max(0, len(text)-c.secret.Longest())]
		}
		c.redacted += n
		c.log.Info("server wrote to its standard error", "text", quote(text), "redacted", n, "suppressed", c.throttle.reset())
	}
	clear(c.line)
	c.line, c.cut = c.line[:0], false
}

// throttle lets a bounded number of lines a second into the log and counts the
// others.
type throttle struct {
	second     int64
	lines      int
	suppressed int
}

func (t *throttle) allow(now time.Time) bool {
	if second := now.Unix(); second != t.second {
		t.second, t.lines = second, 0
	}
	if t.lines >= logLinesASec {
		t.suppressed++
		return false
	}
	t.lines++
	return true
}

// reset returns how many lines were kept out of the log since the last call.
func (t *throttle) reset() int {
	suppressed := t.suppressed
	t.suppressed = 0
	return suppressed
}

// quote makes untrusted text safe for the log: on one line, and cut.
func quote(text []byte) string {
	return strconv.Quote(string(text[:min(len(text), maxLoggedLine)]))
}
