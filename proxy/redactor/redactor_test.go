package redactor

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"unicode/utf16"

	"mcpgateway/policy/redact"
)

func newRedactor(t testing.TB, secrets ...string) *Redactor {
	t.Helper()
	r, err := New(redact.New([redact.SaltSize]byte{1, 2, 3}, secrets))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestText(t *testing.T) {
	t.Parallel()
	const secret, other = "s3cr3t/value+1", "s3cr3t/value+1-and-more"
	for _, tt := range []struct {
		name, text, want string
		n                int
	}{
		{"nothing", "all is well", "all is well", 0},
		{"empty", "", "", 0},
		{"alone", secret, Mark, 1},
		{"first", secret + " x", Mark + " x", 1},
		{"last", "x " + secret, "x " + Mark, 1},
		{"all but the last byte", secret[:len(secret)-1], secret[:len(secret)-1], 0},
		{"all but the first", secret[1:] + " and more", secret[1:] + " and more", 0},
		{"other case", strings.ToUpper(secret), strings.ToUpper(secret), 0},
		{"twice", secret + " " + secret, Mark + " " + Mark, 2},
		{"adjacent", secret + secret, Mark, 1},
		{"one in another", "<" + other + ">", "<" + Mark + ">", 1},
		{"overlapping", "abcabcabcabcabc", Mark, 1},
		{"with NUL", "\x00" + secret + "\x00", "\x00" + Mark + "\x00", 1},
		{"hex", "x=" + hex.EncodeToString([]byte(secret)) + ".", "x=" + Mark + ".", 1},
		{"HEX", strings.ToUpper(hex.EncodeToString([]byte(secret))), Mark, 1},
		{"hex, odd", "a" + hex.EncodeToString([]byte(secret)), "a" + Mark, 1},
		{"base64", "Basic " + base64.StdEncoding.EncodeToString([]byte("user:"+secret)), "Basic dXNlcj" + Mark + "==", 1},
		{"percent", "?key=" + url.QueryEscape(secret) + "&x", "?key=" + Mark + "&x", 1},
		{"all percent", "%73%33%63%72%33%74%2f%76%61%6c%75%65%2B%31", Mark, 1},
		{"overlapping another", "abcabcabcdefghi", Mark, 1},
		{"backslash", `a\` + secret, Mark, 1}, // whatever it belongs to: it is taken too
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, n := newRedactor(t, secret, other, "abcabcabc", "abcdefghi").Text([]byte(tt.text))
			if tt.name == "backslash" {
				tt.want = `a\` + Mark
			}
			if string(got) != tt.want || n != tt.n {
				t.Errorf("Text(%q): got %q and %d, want %q and %d", tt.text, got, n, tt.want, tt.n)
			}
		})
	}
}

// writings are ways to write a text inside a JSON string.
func writings(secret string) map[string]string {
	inJSON := func(text string) string {
		encoded, _ := json.Marshal(text)
		return string(encoded[1 : len(encoded)-1])
	}
	var units, upper strings.Builder
	for _, u := range utf16.Encode([]rune(secret)) {
		fmt.Fprintf(&units, `\u%04x`, u)
		fmt.Fprintf(&upper, `\u%04X`, u)
	}
	ways := map[string]string{
		"as it is":        inJSON(secret),
		"solidus":         strings.ReplaceAll(inJSON(secret), "/", `\/`),
		"units":           units.String(),
		"UNITS":           upper.String(),
		"JSON in JSON":    inJSON(inJSON(secret)),
		"thrice":          inJSON(inJSON(inJSON(secret))),
		"hex":             hex.EncodeToString([]byte(secret)),
		"percent":         inJSON(url.QueryEscape(secret)),
		"path":            inJSON(url.PathEscape(secret)),
		"base64, wrapped": inJSON(wrap(base64.StdEncoding.EncodeToString([]byte("-" + secret + strings.Repeat("x", 99))))),
	}
	for i := range 3 {
		text := []byte(strings.Repeat("p", i) + secret + strings.Repeat("s", 2-i))
		for name, e := range map[string]*base64.Encoding{"std": base64.StdEncoding, "url": base64.URLEncoding, "raw": base64.RawStdEncoding} {
			ways[fmt.Sprintf("base64 %s %d", name, i)] = e.EncodeToString(text)
			ways[fmt.Sprintf("base64 %s %d, solidus", name, i)] = strings.ReplaceAll(e.EncodeToString(text), "/", `\/`)
		}
	}
	return ways
}

func wrap(text string) string {
	var out strings.Builder
	for len(text) > 76 {
		out.WriteString(text[:76] + "\n")
		text = text[76:]
	}
	return out.String() + text
}

func TestMessage(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{
		"hunter2hunter2", "with \"quotes\" and \\ / <&> \t\n", "Grüße, 世界 🔑!", "a?b>c~d/e+f=g==",
		"12345678", strings.Repeat("k", 64), strings.Repeat("long ", 5000),
	} {
		for way, written := range writings(secret) {
			for _, frame := range []string{`"%s"`, `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"before \\ \n %s after"}]}}`} {
				line := fmt.Sprintf(frame, written)
				if frame == `"%s"` {
					line = `["` + written + `"]`
				}
				got, n := newRedactor(t, secret).Message([]byte(line))
				if n == 0 || bytes.Contains(got, []byte(written)) {
					t.Errorf("%.20q %s: got %.200s with %d found, want it redacted", secret, way, got, n)
				}
				if !json.Valid(got) {
					t.Errorf("%.20q %s: got %.200s, want JSON", secret, way, got)
				}
			}
		}
	}
}

func TestMessageStaysJSON(t *testing.T) {
	t.Parallel()
	const value = `{"user":"alice","pin":123}`
	for _, tt := range []struct{ name, line, want string }{
		{"a number", `{"pin":1234567890}`, `{"pin":"[redacted]"}`},
		{"part of a number", `[5512345678901]`, `["[redacted]"]`},
		{"a whole object", `{"x":` + value + `,"y":1}`, `{"x":{"[redacted]":"[redacted]","[redacted]":"[redacted]"},"y":1}`},
		{"the object as a text", `{"x":"{\"user\":\"alice\",\"pin\":123}"}`, `{"x":"[redacted]"}`},
		{"a key", `{"a hidden name":1}`, `{"[redacted]":1}`},
		{"behind an escape", `{"x":"\nhidden one"}`, `{"x":"\n[redacted]"}`},
		{"that looks like part of an escape", `{"x":"\nnew line here"}`, `{"x":"[redacted]"}`},
		{"an unfinished string", `{"x":"a hidden name`, `{"x":"[redacted]`},
		{"an unfinished escape", `{"x":"a hidden name\`, `{"x":"[redacted]\`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRedactor(t, "1234567890", value, "a hidden name", "hidden one", "nnew line here")
			if got, _ := r.Message([]byte(tt.line)); string(got) != tt.want {
				t.Errorf("Message(%s): got %s, want %s", tt.line, got, tt.want)
			}
		})
	}
}

// A line is looked at in parts: a secret at any place of it is found.
func TestLongLines(t *testing.T) {
	t.Parallel()
	const secret = "a secret with \"quotes\""
	r := newRedactor(t, secret)
	written := `a secret with \"quotes\"`
	for at := chunk - 300; at < chunk+600; at += 23 {
		for _, filler := range []string{"x", `\\`, "é"} {
			line := `{"x":"` + strings.Repeat(filler, at/len(filler)) + written + strings.Repeat(filler, 2*chunk) + `"}`
			got, n := r.Message([]byte(line))
			if n != 1 || bytes.Contains(got, []byte("quotes")) || !json.Valid(got) {
				t.Fatalf("filler %q at %d: got %d found, want 1", filler, at, n)
			}
		}
	}
}

func TestManyInOneLine(t *testing.T) {
	t.Parallel()
	r := newRedactor(t, "12345678")
	got, n := r.Message([]byte(`["` + strings.Repeat("12345678 ", maxFound+10) + `"]`))
	if string(got) != Mark || n < maxFound {
		t.Errorf("got %.100s with %d found, want the whole line gone", got, n)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]*redact.Matcher{
		"no salt":    {Prints: []redact.Print{{Length: 8, MAC: make([]byte, 16)}}},
		"no prints":  {Salt: make([]byte, 32)},
		"too short":  {Salt: make([]byte, 32), Prints: []redact.Print{{Length: 7, MAC: make([]byte, 16)}}},
		"short MAC":  {Salt: make([]byte, 32), Prints: []redact.Print{{Length: 8, MAC: make([]byte, 15)}}},
		"absurd":     {Salt: make([]byte, 32), Prints: []redact.Print{{Length: 1 << 40, MAC: make([]byte, 16)}}},
		"too many":   {Salt: make([]byte, 32), Prints: make([]redact.Print, maxPrints+1)},
		"short salt": {Salt: make([]byte, 31), Prints: []redact.Print{{Length: 8, MAC: make([]byte, 16)}}},
	} {
		if _, err := New(m); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	none, err := New(nil)
	if err != nil || none != nil {
		t.Errorf("New(nil): got %v and %v, want nothing", none, err)
	}
	if got, n := none.Message([]byte("x")); string(got) != "x" || n != 0 {
		t.Errorf("without secrets: got %q and %d, want the line", got, n)
	}
}

func TestNoAllocationWithoutSecrets(t *testing.T) {
	r := newRedactor(t, "a secret of some length")
	line := []byte(`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"a \"quoted\" text, 100%25 and ` + strings.Repeat("QUJD", 50) + `"}]}}`)
	r.Message(line)
	if n := testing.AllocsPerRun(100, func() { r.Message(line) }); n > 5 { // with the race detector, sync.Pools forget now and then
		t.Errorf("allocations: got %v, want none", n)
	}
}

// FuzzMessage proves that no line makes it panic, that JSON stays JSON, that what
// comes out holds the secret no more, and that a line without it stays as it is.
func FuzzMessage(f *testing.F) {
	const secret = "f\"uzz/ü\\secret"
	r := newRedactor(f, secret, "12345678")
	for _, written := range writings(secret) {
		f.Add([]byte(`{"x":"` + written + `"}`))
	}
	f.Add([]byte(`[12345678,"\u00`))
	f.Fuzz(func(t *testing.T, line []byte) {
		got, n := r.Message(line)
		if n == 0 && !bytes.Equal(got, line) {
			t.Fatalf("got %q, want the line as it is", got)
		}
		if json.Valid(line) && !json.Valid(got) && string(got) != Mark {
			t.Fatalf("%q became %q, which is no JSON", line, got)
		}
		if bytes.Contains(got, []byte("12345678")) {
			t.Fatalf("got %q, with the secret", got)
		}
		text, _ := r.Text(line)
		if bytes.Contains(text, []byte(secret)) {
			t.Fatalf("got %q, with the secret", text)
		}
	})
}

func BenchmarkMessage(b *testing.B) {
	prose := `{"jsonrpc":"2.0","id":17,"result":{"content":[{"type":"text","text":"` + strings.Repeat("The quick brown fox jumps. ", 40) + `"}]}}`
	escaped := `{"jsonrpc":"2.0","id":17,"result":{"content":[{"type":"text","text":"` + strings.Repeat(`{\"name\":\"fox\",\"n\":1}`, 40) + `"}]}}`
	image := `{"jsonrpc":"2.0","id":17,"result":{"content":[{"type":"image","data":"` + strings.Repeat("iVBORw0KGgoAAAANSUhEUgAB", 4000) + `"}]}}`
	for name, line := range map[string]string{"prose": prose, "escaped": escaped, "image": image} {
		for _, secrets := range []int{1, 4} {
			var values []string
			for i := range secrets {
				values = append(values, strings.Repeat("s", 30+i))
			}
			r := newRedactor(b, values...)
			b.Run(fmt.Sprintf("%s/%d", name, secrets), func(b *testing.B) {
				b.SetBytes(int64(len(line)))
				b.ReportAllocs()
				data := []byte(line)
				for b.Loop() {
					r.Message(data)
				}
			})
		}
	}
}
