package mcp

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sys/unix"
)

// messages are as they come: a small and a larger call, a list of many tools, a large
// answer.
func messages() map[string][]byte {
	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"progressToken":7}`
	call := func(arguments string) []byte {
		return []byte(`{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{"name":"search","arguments":` + arguments + `,` + meta + `}}`)
	}
	var tools []string
	for i := range 250 {
		tools = append(tools, fmt.Sprintf(`{"name":"tool-%d","description":"%s","inputSchema":{"type":"object","properties":{"path":{"type":"string","description":"which file, relative to the root"},`+
			`"from":{"type":"integer","minimum":0},"to":{"type":"integer"},"flags":{"type":"array","items":{"enum":["a","b"]}}},"required":["path"],"additionalProperties":false}}`, i, strings.Repeat("Reads a part of it.\\n", 24)))
	}
	text := strings.Repeat(`line of \"text\" with a tab\t and a new line\n`, 8<<20/46)
	return map[string][]byte{
		"call-256B":  call(`{"query":"a b"}`),
		"call-2KB":   call(`{"query":"` + strings.Repeat("what is to be found; ", 60) + `","options":{"limit":10,"exact":true,"in":["a","b","c"],"weights":[0.5,1e-3,12]},"tags":{"a":1,"b":2,"c":null}}`),
		"list-200KB": []byte(`{"jsonrpc":"2.0","id":3,"result":{"tools":[` + strings.Join(tools, ",") + `]}}`),
		"answer-8MB": []byte(`{"jsonrpc":"2.0","id":3,"result":{"content":[{"type":"text","text":"` + text + `"}],"isError":false}}`),
	}
}

// cpu runs a benchmark and reports what it costs in CPU time: on a host that has other
// things to do, too, time says little.
func cpu(b *testing.B, work func()) {
	b.Helper()
	used := func() int64 {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	b.ReportAllocs()
	before := used()
	for b.Loop() {
		work()
	}
	b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkParse is what one message costs: by Parse, and by jsontext, which Parse used
// before and which refuses the same.
func BenchmarkParse(b *testing.B) {
	for _, name := range []string{"call-256B", "call-2KB", "list-200KB", "answer-8MB"} {
		data := messages()[name]
		b.Run(name+"/scanner", func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			cpu(b, func() {
				if _, err := Parse(data); err != nil {
					b.Fatal(err)
				}
			})
		})
		b.Run(name+"/jsontext", func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			cpu(b, func() {
				if err := decode(data); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

// decode reads the members of a message by jsontext.
func decode(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("not UTF-8")
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowInvalidUTF8(true))
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() != '}' {
		if _, err := d.ReadValue(); err != nil {
			return err
		}
		if _, err := d.ReadValue(); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// BenchmarkParam is what is asked of a request on its way.
func BenchmarkParam(b *testing.B) {
	m, err := Parse(bytes.Clone(messages()["call-256B"]))
	if err != nil {
		b.Fatal(err)
	}
	cpu(b, func() {
		m.Param("name")
		m.Param("arguments")
		m.Param("_meta", MetaRevision)
		m.Param("_meta", "progressToken")
		m.Param("requestState")
		m.Param("task")
		if m.Lookalike() != "" {
			b.Fatal("got a lookalike")
		}
	})
}
