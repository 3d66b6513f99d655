package link

import (
	"strings"
	"testing"

	"mcpgateway/proxy/mcp"
)

func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		size int
		want int // accepted
	}{
		{"by count", 10, MaxQueue},
		{"by bytes", MaxQueueBytes / 4, 3}, // with their envelopes a fourth is over it
		{"one over it", 2 * MaxQueueBytes, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			q := NewQueue()
			m := mcp.NewRequest(nil, "a", mcp.Quote(strings.Repeat("x", test.size)))
			got := 0
			for q.Offer(m) {
				got++
			}
			q.Force(m) // a response always fits
			if taken := len(q.Take()); got != test.want || taken != got+1 {
				t.Errorf("got %d accepted and %d taken, want %d and one more", got, taken, test.want)
			}
			if !q.Offer(m) {
				t.Error("got no room after all was taken")
			}
		})
	}
}
