package control

import (
	"strings"
	"testing"
)

// A trace is the id of a request, or the peer has broken the protocol: it goes into logs.
func TestTrace(t *testing.T) {
	t.Parallel()
	for id, good := range map[string]bool{
		"": true, "DAKTQJBW2U-1z": true, "az-AZ-09": true, strings.Repeat("x", MaxTrace): true,
		strings.Repeat("x", MaxTrace+1): false, "a b": false, "a\nb": false, "a=b": false, "a_b": false, "[a": false, "a@": false, "é": false, "\x00": false,
	} {
		first, second := pair(t)
		if err := first.Send(Message{Kind: KindOpen, ID: 1, Server: "files", Trace: id}); err != nil {
			t.Fatal(err)
		}
		got, _, err := second.Receive()
		if (err == nil) != good || good && got.Trace != id {
			t.Errorf("%q: got %q, %v", id, got.Trace, err)
		}
	}
}

func TestCorrelation(t *testing.T) {
	t.Parallel()
	if got := Correlation(t.Context()); got != "" {
		t.Errorf("got %q of nobody", got)
	}
	if got := Correlation(WithCorrelation(WithCorrelation(t.Context(), "a"), "b")); got != "b" {
		t.Errorf("got %q, want b", got)
	}
}
