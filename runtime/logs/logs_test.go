package logs

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/policy"
	"mcpgateway/runtime/control"
)

// lines is a writer that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// take returns what was written since the last call.
func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

func settings(level, format string) policy.Logging {
	return policy.Logging{Level: level, Format: format}
}

// Loggers that were made before a change of level or format follow it.
func TestApply(t *testing.T) {
	t.Parallel()
	var out lines
	h := newHandler("proxy", &out)
	log := slog.New(h)
	derived := log.With("server", "files").WithGroup("g").With("a", 1)
	for _, tt := range []struct {
		level, format string
		debug, info   bool
	}{
		{"", "", false, true}, // as it begins
		{"debug", "json", true, true},
		{"warn", "text", false, false},
		{"info", "json", false, true},
		{"nonsense", "text", false, true}, // the level stays
		{"error", "text", false, false},
	} {
		h.Apply(settings(tt.level, tt.format))
		for _, l := range []*slog.Logger{log, derived} {
			l.Debug("x")
			if got := out.take(); (got != "") != tt.debug {
				t.Errorf("%v: got %q for debug", tt, got)
			}
			l.Info("x")
			got := out.take()
			if (got != "") != tt.info {
				t.Errorf("%v: got %q for info", tt, got)
			}
			if got != "" && json.Valid([]byte(got)) != (tt.format == "json") {
				t.Errorf("%v: got %q", tt, got)
			}
			if l == derived && got != "" && !strings.Contains(got, "files") {
				t.Errorf("%v: got %q without what With has said", tt, got)
			}
		}
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	ctx := control.WithCorrelation(t.Context(), "ABC-1")
	for _, tt := range []struct {
		format string
		attrs  []any
		want   string
	}{
		{"text", []any{"server", "files", "took", 1500 * time.Millisecond, "n", 3, "ok", true}, `server=files took=1.5s n=3 ok=true`},
		{"json", []any{"server", "files", "took", 1500 * time.Millisecond, "n", 3, "ok", true}, `"server":"files","took":1.5,"n":3,"ok":true`},
		{"text", []any{"err", errors.New("a\nlevel=ERROR \x1b[2J")}, `err="a\\nlevel=ERROR \\x1b[2J"`},
		{"json", []any{"err", errors.New("a\n\x1b[2J\u009b\u202e\"")}, `"err":"a\\n\\x1b[2J\\u009b\\u202e\\\""`},
		{"json", []any{"err", errors.New("a.yaml:1:1\n\tb")}, `"err":"a.yaml:1:1\n\tb"`},
		{"text", []any{"text", "a\n level=ERROR\tb"}, `text="a\n level=ERROR\tb"`},
		{"json", []any{"text", "not \xff UTF-8"}, `"text":"not \ufffd UTF-8"`},
		{"json", []any{"list", []string{"a", "\x07"}}, `"list":"[a \\a]"`},
		{"json", []any{"json", `{"a":1}`}, `"json":"{\"a\":1}"`},
	} {
		var out lines
		h := newHandler("daemon", &out)
		h.Apply(settings("info", tt.format))
		slog.New(h).InfoContext(ctx, "a message", tt.attrs...)
		want := ` level=INFO msg="a message" ` + tt.want + " component=daemon correlation=ABC-1\n"
		if tt.format == "json" {
			want = `","level":"INFO","msg":"a message",` + tt.want + `,"component":"daemon","correlation":"ABC-1"}` + "\n"
		}
		if got := out.take(); !strings.HasSuffix(got, want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestLongValue(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		var out lines
		h := newHandler("daemon", &out)
		h.Apply(settings("info", format))
		slog.New(h).Info("x", "text", strings.Repeat("y", 1<<20), "err", errors.New(strings.Repeat("z", 1<<20)))
		if got := out.take(); len(got) > 2*maxValue+200 || strings.Count(got, "…") != 2 {
			t.Errorf("got a line of %d bytes", len(got))
		}
	}
}

// journalServer is where the journal takes datagrams, with one that stands in for it.
func journalServer(t *testing.T) (path string, receive func() map[string]string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	server, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return path, func() map[string]string {
		packet := make([]byte, 1<<20)
		if err := server.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := server.Read(packet)
		if err != nil {
			t.Fatal(err)
		}
		found, err := parse(packet[:n])
		if err != nil {
			t.Fatalf("%v in %q", err, packet[:n])
		}
		return found
	}
}

// parse reads a datagram as the journal does (systemd's JOURNAL_NATIVE_PROTOCOL).
func parse(packet []byte) (map[string]string, error) {
	found := map[string]string{}
	for len(packet) > 0 {
		line, rest, ok := bytes.Cut(packet, []byte("\n"))
		if !ok {
			return nil, errors.New("a field without an end")
		}
		name, value, short := bytes.Cut(line, []byte("="))
		if !short {
			if len(rest) < 8 || binary.LittleEndian.Uint64(rest) >= uint64(len(rest)-8) {
				return nil, fmt.Errorf("a bad length of %q", name)
			}
			n := binary.LittleEndian.Uint64(rest)
			value, rest = rest[8:8+n], rest[8+n:]
			if rest[0] != '\n' {
				return nil, fmt.Errorf("no end of %q", name)
			}
			rest = rest[1:]
		}
		if _, again := found[string(name)]; again {
			return nil, fmt.Errorf("%q comes twice", name)
		}
		found[string(name)] = string(value)
		packet = rest
	}
	return found, nil
}

func TestJournal(t *testing.T) {
	t.Parallel()
	path, receive := journalServer(t)
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	var other lines
	h := newHandler("proxy", &journalled{name: "mcp-gateway-proxy", socket: socket, path: path, fallback: &other})
	h.text = h.json
	log := slog.New(h).With("server", "files", "sandbox", "files-1")
	ctx := control.WithCorrelation(t.Context(), "ABC-1")

	evil := "first\nPRIORITY=0\nMCP_SERVER=other\n\x00\x01\xff\x1b[2J"
	tests := []struct {
		name string
		log  func()
		want map[string]string
	}{
		{"plain", func() { log.InfoContext(ctx, "instance started", "took", 250*time.Millisecond, "n", 7) }, map[string]string{
			"MESSAGE":  `instance started component="proxy" correlation="ABC-1" n=7 sandbox="files-1" server="files" took=0.25`,
			"PRIORITY": "6", "SYSLOG_IDENTIFIER": "mcp-gateway-proxy", "MCP_COMPONENT": "proxy", "MCP_SERVER": "files", "MCP_SANDBOX": "files-1",
			"MCP_CORRELATION": "ABC-1", "MCP_TOOK": "0.25", "MCP_N": "7",
		}},
		{"hostile", func() { log.Warn("x", "text", evil) }, map[string]string{
			"MESSAGE":  `x component="proxy" sandbox="files-1" server="files" text="first\\nPRIORITY=0\\nMCP_SERVER=other\\n\\x00\\x01\\xff\\x1b[2J"`,
			"PRIORITY": "4", "SYSLOG_IDENTIFIER": "mcp-gateway-proxy", "MCP_COMPONENT": "proxy", "MCP_SERVER": "files", "MCP_SANDBOX": "files-1",
			"MCP_TEXT": `first\nPRIORITY=0\nMCP_SERVER=other\n\x00\x01\xff\x1b[2J`,
		}},
		{"lines", func() { log.Error("x", "err", "first\nPRIORITY=0\n") }, map[string]string{
			"MESSAGE":  `x component="proxy" err="first\nPRIORITY=0\n" sandbox="files-1" server="files"`,
			"PRIORITY": "3", "SYSLOG_IDENTIFIER": "mcp-gateway-proxy", "MCP_COMPONENT": "proxy", "MCP_SERVER": "files", "MCP_SANDBOX": "files-1",
			"MCP_ERR": "first\nPRIORITY=0\n",
		}},
		{"strange names", func() { log.Info("a\nb", "x=y\nz", 1, strings.Repeat("n", 100), 2) }, map[string]string{
			"MESSAGE":  "a\nb component=\"proxy\" " + strings.Repeat("n", 100) + `=2 sandbox="files-1" server="files" x=y` + "\nz=1",
			"PRIORITY": "6", "SYSLOG_IDENTIFIER": "mcp-gateway-proxy", "MCP_COMPONENT": "proxy", "MCP_SERVER": "files", "MCP_SANDBOX": "files-1",
			"MCP_X_Y_Z": "1", "MCP_" + strings.Repeat("N", 60): "2",
		}},
	}
	for _, tt := range tests {
		for _, format := range []string{"text", "json"} { // which says nothing here
			h.Apply(settings("info", format))
			tt.log()
			got := receive()
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("%s: got\n%q, want\n%q", tt.name, got, tt.want)
			}
		}
	}
	if got := other.take(); got != "" {
		t.Errorf("got %q on standard error", got)
	}

	// A journal that does not take a line, or is gone.
	log.Info("large", "a", strings.Repeat("x", maxValue), "b", strings.Repeat("x", maxValue))
	if got := receive(); len(got["MCP_A"]) != maxValue || len(got["MCP_B"]) != maxValue {
		t.Errorf("got %d and %d bytes", len(got["MCP_A"]), len(got["MCP_B"]))
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	log.Info("gone")
	if got := other.take(); !json.Valid([]byte(got)) || !strings.Contains(got, `"msg":"gone"`) {
		t.Errorf("got %q on standard error", got)
	}
}

// Lines go to the journal only if standard error does.
func TestOpenJournal(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	for stream, want := range map[string]bool{
		fmt.Sprintf("%d:%d", st.Dev, st.Ino): true, fmt.Sprintf("%d:%d", st.Dev, st.Ino+1): false, "": false, "x": false,
	} {
		t.Setenv("JOURNAL_STREAM", stream)
		j := openJournal("name", file)
		if (j != nil) != want {
			t.Errorf("%q: got %v, want %v", stream, j != nil, want)
		}
		if j != nil {
			unix.Close(j.socket)
		}
	}
}

// Settings change while others log; run with -race.
func TestConcurrently(t *testing.T) {
	t.Parallel()
	var out lines
	h := newHandler("proxy", &out)
	var running sync.WaitGroup
	for i := range 4 {
		running.Go(func() {
			log := slog.New(h).With("i", i)
			for range 200 {
				log.Info("x")
				log = log.With("a", 1)
			}
		})
	}
	for i := range 200 {
		h.Apply(settings([]string{"debug", "info"}[i%2], []string{"text", "json"}[i/2%2]))
	}
	running.Wait()
	if got := strings.Count(out.take(), "\n"); got != 800 {
		t.Errorf("got %d lines, want 800", got)
	}
}

func BenchmarkLine(b *testing.B) {
	for _, format := range []string{"text", "json"} {
		h := newHandler("proxy", io.Discard)
		h.Apply(settings("info", format))
		log := slog.New(h).With("server", "files")
		b.Run(format, func(b *testing.B) {
			for b.Loop() {
				log.Info("server wrote to its standard error", "text", "listening on port 80")
			}
		})
	}
}
