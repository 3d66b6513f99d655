package backend

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"mcpgateway/policy/redact"
	"mcpgateway/proxy/redactor"
)

const ownSecret = "s3cr3t-of-the-server"

func withSecret(t *testing.T, log io.Writer) *Conn {
	t.Helper()
	secret, err := redactor.New(redact.New([redact.SaltSize]byte{1}, []string{ownSecret}))
	if err != nil {
		t.Fatal(err)
	}
	return bare(log, secret)
}

// What a server writes to its standard error is cut; a secret that the cut would
// go through is not shown in part.
func TestStderrWithoutSecrets(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"a line":         "the key is " + ownSecret + "\n",
		"without an end": "the key is " + ownSecret,
		"all over":       strings.Repeat(ownSecret+"x\n", 2000),
		"one long line":  strings.Repeat(ownSecret+"x", 2000),
	} {
		for at := range maxLoggedLine {
			if at > 40 && at < maxLoggedLine-40 || at > len(ownSecret) && len(text) > maxLoggedLine {
				continue
			}
			var log bytes.Buffer
			conn := withSecret(t, &log)
			text := strings.Repeat("y", at) + text + strings.Repeat("z", 40)
			var told strings.Builder
			conn.settings.Store(&Spec{Stderr: func(_ string, line []byte) { told.Write(line) }})
			tail := conn.drainStderr(iotest.HalfReader(strings.NewReader(text)))
			shown := log.String() + string(tail) + told.String()
			for _, part := range []string{ownSecret, ownSecret[:8], ownSecret[len(ownSecret)-8:]} {
				if strings.Contains(shown, part) {
					t.Fatalf("%s at %d: got %q in %.3000q", name, at, part, shown)
				}
			}
			if conn.redacted.Load() == 0 {
				t.Errorf("%s at %d: nothing was counted", name, at)
			}
		}
	}
}

// A line that is not at its end yet holds no whole secret either.
func TestStderrUnfinished(t *testing.T) {
	t.Parallel()
	conn := withSecret(t, io.Discard)
	var told []string
	lines := cutter{log: conn.log, most: conn.stderrLines, secret: conn.secret, tell: func(line []byte) { told = append(told, string(line)) }, line: make([]byte, 0, maxLoggedLine+conn.secret.Longest())}
	lines.write([]byte("the key is " + ownSecret[:9]))
	lines.write([]byte(ownSecret[9:] + ", and "))
	if held := lines.line[:cap(lines.line)]; bytes.Contains(held, []byte(ownSecret)) {
		t.Errorf("got %q", bytes.Trim(held, "\x00"))
	}
	lines.write([]byte("so on\n"))
	if got, want := strings.Join(told, "|"), "the key is [redacted], and so on"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	if got, want := string(lines.tail), "the key is [redacted], and so on\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	conn := withSecret(t, &log)
	line := []byte(`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no ` + ownSecret + `"}}`)
	got := conn.redact(line)
	if !json.Valid(got) || bytes.Contains(got, []byte(ownSecret)) || !bytes.Contains(got, []byte(redactor.Mark)) {
		t.Errorf("got %s", got)
	}
	if len(bytes.Trim(line, "\x00")) > 0 {
		t.Errorf("the line is still there: %s", line)
	}
	if conn.redacted.Load() != 1 || !strings.Contains(log.String(), "count=1") || strings.Contains(log.String(), ownSecret) {
		t.Errorf("got %d counted and the log %s", conn.redacted.Load(), log.String())
	}
}
