package daemon

import (
	"testing"

	"mcpgateway/runtime/control"
)

// A proxy may say something of two generations before anybody looks: the last counts.
func TestLastVerdictCounts(t *testing.T) {
	t.Parallel()
	m := newMonitor(&Daemon{}, &control.Conn{})
	for generation := range uint64(3) {
		if _, err := m.takeVerdict(t.Context(), control.Message{Kind: control.KindApplied, Generation: generation}); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-m.verdicts; got.Generation != 2 {
		t.Errorf("got that of generation %d, want the last", got.Generation)
	}
}
