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

func TestPrefers(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]bool{
		"text/event-stream, application/json": true, "application/json, text/event-stream": false, "text/event-stream": true,
		"application/json": false, "*/*": false, "": false, "application/json;q=0.5, text/event-stream": true,
		"text/event-stream;q=0.5, application/json;q=0.9": false, "text/event-stream;q=0.9, application/json;q=0.9": true,
		"text/event-stream;q=0, application/json;q=0": false, "text/event-stream;q=x, application/json": true,
		"a/b, text/event-stream;q=0.1, text/event-stream, application/json": true,
	} {
		if got := Prefers(http.Header{"Accept": {accept}}, TypeEvents, TypeJSON); got != want {
			t.Errorf("%q: got %v", accept, got)
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
		if Prefers(h, TypeJSON, TypeEvents) && (!Names(h, TypeJSON) || Prefers(h, TypeEvents, TypeJSON)) {
			t.Errorf("%q: preferred but not named, or both preferred", value)
		}
		IsJSON(h)
	})
}
