package tracing

import (
	"context"
	"errors"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// echoing is a receiver that says what it was sent.
type echoing struct{}

func (echoing) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	return errors.New("body: you sent\nauthorization: Bearer abc")
}
func (echoing) Shutdown(context.Context) error { return nil }

func TestContextsOfClients(t *testing.T) {
	good := "00-" + trace1 + "-" + span1 + "-01"
	for _, test := range []struct {
		name, meta string
		valid      bool
		state      string
	}{
		{"good", `{"traceparent":"` + good + `"}`, true, ""},
		{"with state", `{"traceparent":"` + good + `","tracestate":"a=b,c=d"}`, true, "a=b,c=d"},
		{"bad state", `{"traceparent":"` + good + `","tracestate":"=,=,"}`, true, ""},
		{"long state", `{"traceparent":"` + good + `","tracestate":"a=` + strings.Repeat("b", 3000) + `"}`, true, ""},
		{"state alone", `{"tracestate":"a=b"}`, false, ""},
		{"upper case", `{"traceparent":"` + strings.ToUpper(good) + `"}`, false, ""},
		{"zero trace", `{"traceparent":"00-00000000000000000000000000000000-` + span1 + `-01"}`, false, ""},
		{"zero span", `{"traceparent":"00-` + trace1 + `-0000000000000000-01"}`, false, ""},
		{"version ff", `{"traceparent":"ff` + good[2:] + `"}`, false, ""},
		{"more than there is", `{"traceparent":"` + good + `-x"}`, false, ""},
		{"no text", `{"traceparent":{"a":1}}`, false, ""},
		{"long", `{"traceparent":"` + strings.Repeat("0", 1<<16) + `"}`, false, ""},
		{"no object", `[]`, false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := parentOf(request(t, `{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":`+test.meta+`}}`))
			if got.IsValid() != test.valid || got.TraceState().String() != test.state {
				t.Errorf("got %v, %q", got.IsValid(), got.TraceState())
			}
		})
	}
}

func TestContextToTheServer(t *testing.T) {
	id, _ := trace.TraceIDFromHex(trace1)
	span, _ := trace.SpanIDFromHex(span1)
	of := trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: span, TraceFlags: trace.FlagsSampled})
	const added = `"traceparent":"00-` + trace1 + `-` + span1 + `-01"`
	for _, test := range []struct{ name, in, want string }{
		{"none", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{` + added + `}}}`},
		{"no meta", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"n":1.50e3}}`, `{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{` + added + `},"n":1.50e3}}`},
		{"others", `{"params":{"_meta":{"progressToken":9007199254740993,"tracestate":"a=b"},"n":1},"id":"1","method":"x","jsonrpc":"2.0"}`, `{"params":{"_meta":{"progressToken":9007199254740993,` + added + `},"n":1},"id":"1","method":"x","jsonrpc":"2.0"}`},
		{"null", `{"jsonrpc":"2.0","id":1,"method":"x","params":null}`, `{"jsonrpc":"2.0","id":1,"method":"x","params":null}`},
		{"null meta", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":null}}`, `{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":null}}`},
		{"initialize", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`},
		{"subscription", `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{}}`, `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := string(pass(request(t, test.in), of).Raw()); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestURIsWithoutSecrets(t *testing.T) {
	for in, want := range map[string]string{
		"file:///a/b":                        "file:///a/b",
		"https://u:p@host/a?token=x#y":       "https://host/a",
		"postgres://u:p%@host:1/db?password": "postgres://host:1/db",
		"urn:a:b?c":                          "urn:a:b",
		"":                                   "",
	} {
		if got := withoutSecrets(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestCleanIsValid(t *testing.T) {
	for in, want := range map[string]string{"abc": "abc", "a\n": "a\uFFFD", "\xff": "\uFFFD", "aäöü": "aä", "äöü": "ä"} {
		if got := clean(in, 3); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
