package httpio

import (
	"net/http"
	"testing"
)

func TestAccepts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		accept string
		want   bool
	}{
		{"", false}, {"application/json", false}, {"text/event-stream", true}, {"TEXT/Event-Stream; q=0.5", true},
		{"text/*", true}, {"*/*", true}, {"application/json, text/event-stream", true},
		{"text/event-stream;q=0", false}, {"text/event-stream;q=0.000", false}, {"text/event-streams", false},
	} {
		if got := Accepts(http.Header{"Accept": {test.accept}}, TypeEvents); got != test.want {
			t.Errorf("%q: got %v, want %v", test.accept, got, test.want)
		}
	}
}

// Headers come from anybody: no value may panic, and one that names a type is
// accepted.
func FuzzHeaders(f *testing.F) {
	f.Add("text/event-stream;q=0, */*")
	f.Fuzz(func(t *testing.T, value string) {
		h := http.Header{"Accept": {value}, "Content-Type": {value}}
		if Names(h, TypeJSON) && !Accepts(h, TypeJSON) {
			t.Errorf("%q: named but not accepted", value)
		}
		IsJSON(h)
	})
}
