package backend

import (
	"bytes"
	"io"
	"log/slog"
	"time"

	"mcpgateway/proxy/redactor"
)

// drainStderr reads a server's standard error until it ends, so that the server
// never blocks on it. Lines go to the log, without the server's secrets, cut and at a
// bounded rate; the last ones are returned for the log entry of the server's end.
// Nothing of it goes to a client: it may hold what the server keeps to itself.
func (c *Conn) drainStderr(r io.Reader) (tail []byte) {
	buffer := make([]byte, 4<<10)
	// The line does not grow: a secret would be left in memory that was outgrown.
	lines := cutter{log: c.log.With("stream", "stderr"), most: c.stderrLines, secret: c.secret, tell: c.tellStderr, line: make([]byte, 0, maxLoggedLine+c.secret.Longest())}
	for {
		n, err := r.Read(buffer)
		lines.write(buffer[:n])
		clear(buffer[:n])
		if err != nil {
			lines.flush()
			lines.untold()
			c.redacted.Add(int64(lines.total))
			return lines.tail
		}
	}
}

// tellStderr passes a line on to who wants them, if there is anybody.
func (c *Conn) tellStderr(line []byte) {
	if tell := c.spec().Stderr; tell != nil {
		tell(c.files.Sandbox, line)
	}
}

// cutter makes lines of a stream and cuts those that are too long.
type cutter struct {
	log      *slog.Logger
	most     func() int // lines a second that are logged
	secret   *redactor.Redactor
	tell     func(line []byte)
	throttle throttle
	line     []byte
	cut      bool   // there was more of the line
	redacted int    // secrets that were taken out of the line
	total    int    // and of all
	tail     []byte // of what was shown
}

func (c *cutter) write(data []byte) {
	for len(data) > 0 {
		part, rest, whole := bytes.Cut(data, []byte("\n"))
		if room := cap(c.line) - len(c.line); !c.cut {
			c.line = append(c.line, part[:min(len(part), room)]...)
			c.cut = len(part) > room
		}
		if whole {
			c.flush()
		}
		data = rest
	}
	c.redact() // what is there of a line may stay for long
}

// redact takes the secrets out of the line, as far as it is there.
func (c *cutter) redact() {
	text, n := c.secret.Text(c.line)
	if n > 0 {
		clear(c.line)
		c.line = append(c.line[:0], text[:min(len(text), cap(c.line))]...)
		c.redacted += n
	}
}

func (c *cutter) flush() {
	c.redact()
	text := c.line
	if c.cut { // its last bytes may be the beginning of a secret
		text = text[:max(0, len(text)-c.secret.Longest())]
	}
	text = text[:min(len(text), maxLoggedLine)]
	if len(text) > 0 {
		c.tell(text)
	}
	if len(text) > 0 && c.throttle.allow(time.Now(), c.most()) {
		attrs := []any{"text", string(text)}
		if c.redacted > 0 {
			attrs = append(attrs, "redacted", c.redacted)
		}
		if n := c.throttle.reset(); n > 0 {
			attrs = append(attrs, "suppressed", n)
		}
		c.log.Info("server wrote to its standard error", attrs...)
	}
	c.tail = append(append(c.tail, text...), '\n')
	if over := len(c.tail) - maxStderrTail; over > 0 {
		c.tail = append(c.tail[:0], c.tail[over:]...)
	}
	clear(c.line)
	c.total += c.redacted
	c.line, c.cut, c.redacted = c.line[:0], false, 0
}

// untold says how many lines at the end were not logged. Who wants none is told of none.
func (c *cutter) untold() {
	if n := c.throttle.reset(); n > 0 && c.most() > 0 {
		c.log.Info("server wrote more to its standard error", "suppressed", n)
	}
}

// stderrLines is how many lines of standard error are logged in a second: by the
// configuration of now.
func (c *Conn) stderrLines() int { return c.spec().StderrLines }

// throttle lets a bounded number of lines a second into the log and counts the
// others.
type throttle struct {
	second     int64
	lines      int
	suppressed int
}

func (t *throttle) allow(now time.Time, most int) bool {
	if second := now.Unix(); second != t.second {
		t.second, t.lines = second, 0
	}
	if t.lines >= most {
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
