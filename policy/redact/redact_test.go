package redact

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestNew(t *testing.T) {
	t.Parallel()
	pem := "-----BEGIN PRIVATE KEY-----\n" + strings.Repeat("A", 64) + "\n" + strings.Repeat("B", 20) + "\nshort=\n-----END PRIVATE KEY-----"
	for _, tt := range []struct {
		name  string
		texts []string
		want  []int // lengths, in any order
	}{
		{"none", nil, nil},
		{"too short", []string{"1234567"}, nil},
		{"shortest", []string{"12345678"}, []int{8}},
		{"twice", []string{"12345678", "12345678"}, []int{8}},
		{"lines", []string{pem}, []int{len(pem), 64, 20}},
		{"one line with its end", []string{"0123456789abcdef\n"}, []int{17, 16}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := New([SaltSize]byte{1}, tt.texts)
			if m == nil {
				m = &Matcher{}
			}
			counts := map[int]int{}
			for _, p := range m.Prints {
				counts[p.Length]++
			}
			for _, n := range tt.want {
				counts[n]--
			}
			for n, count := range counts {
				if count != 0 {
					t.Errorf("prints of length %d: got %d too many", n, count)
				}
			}
		})
	}
}

// Matchers of one text with other salts have nothing in common.
func TestMatcherIsSalted(t *testing.T) {
	t.Parallel()
	const text = "correct horse battery staple"
	a, b := New([SaltSize]byte{1}, []string{text}), New([SaltSize]byte{2}, []string{text})
	if bytes.Equal(a.Prints[0].MAC, b.Prints[0].MAC) {
		t.Error("two matchers of one text have the same MAC")
	}
	encoded, err := json.Marshal(a)
	if err != nil || bytes.Contains(encoded, []byte("horse")) {
		t.Errorf("got %s and %v, want nothing of the text", encoded, err)
	}
}
