package backend

import (
	"sync/atomic"
	"testing"
)

// Whoever wants to know hears of a new instance before it is used, and of a notice
// before what the server wrote after it, whether or not a client listens.
func TestToolsChangedIsTold(t *testing.T) {
	pool, _ := newPool(t)
	var told atomic.Int32
	s := spec("echo")
	s.ToolsChanged = func() { told.Add(1) }
	conn, err := pool.StartInitialized(t.Context(), s, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := told.Load(); got != 1 {
		t.Errorf("told %d times of a new instance, want once", got)
	}
	call(t, conn, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"log"}}`) // which says so
	if got := told.Load(); got != 2 {
		t.Errorf("told %d times in all, want twice", got)
	}
	call(t, conn, `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo"}}`)
	if got := told.Load(); got != 2 {
		t.Errorf("told %d times in all, want no more", got)
	}
}
