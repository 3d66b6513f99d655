package mcp

import (
	"bytes"
	"errors"
	"testing"
)

func TestParseBatch(t *testing.T) {
	t.Parallel()
	one := `{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":"\ud800"}}`
	tests := []struct {
		name, text string
		want       int // messages
		code       int // 0 means valid
	}{
		{"one", "[" + one + "]", 1, 0},
		{"with white space", " [\r\n" + one + " ,\n" + one + "\t]\n", 2, 0},
		{"too many", "[" + one + "," + one + "," + one + "]", 0, CodeInvalidRequest},
		{"empty", "[ ]", 0, CodeInvalidRequest},
		{"no message", "[" + one + ",7]", 0, CodeParse},
		{"no request", `[{"jsonrpc":"2.0","id":1}]`, 0, CodeInvalidRequest},
		{"batch in a batch", "[[" + one + "]]", 0, CodeInvalidRequest},
		{"cut", "[" + one, 0, CodeParse},
		{"cut in a message", "[" + one[:20], 0, CodeParse},
		{"comma at the end", "[" + one + ",]", 0, CodeParse},
		{"no comma", "[" + one + one + "]", 0, CodeParse},
		{"text behind", "[" + one + "]]", 0, CodeParse},
		{"no UTF-8", "[\"\xff\"]", 0, CodeParse},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if !IsBatch([]byte(test.text)) {
				t.Error("not taken for a batch")
			}
			got, err := ParseBatch([]byte(test.text), 2)
			var invalid *InvalidError
			if len(got) != test.want || (err != nil) != (test.code != 0) || errors.As(err, &invalid) && invalid.Code != test.code {
				t.Errorf("got %d messages, %v, want %d, code %d", len(got), err, test.want, test.code)
			}
		})
	}
	for _, text := range []string{"", " ", one, `"["`} {
		if IsBatch([]byte(text)) {
			t.Errorf("%q was taken for a batch", text)
		}
	}
}

func FuzzParseBatch(f *testing.F) {
	for _, seed := range []string{`[{"jsonrpc":"2.0","id":1,"method":"a"},{"jsonrpc":"2.0","id":2,"result":{}}]`, `[]`, `[[]]`, `[{}]x`, ` [ {"a":1} ]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		messages, err := ParseBatch(bytes.Clone(data), 8)
		if (err == nil) != (len(messages) > 0) || len(messages) > 8 {
			t.Fatalf("got %d messages, %v", len(messages), err)
		}
		for _, m := range messages {
			if again, err := Parse(bytes.Clone(m.Raw())); err != nil || !bytes.Equal(again.Raw(), m.Raw()) {
				t.Fatalf("%q is no message: %v", m.Raw(), err)
			}
		}
	})
}
