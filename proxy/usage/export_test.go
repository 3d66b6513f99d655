package usage

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/telemetry"
)

// sink takes CloudEvents as a billing system does: each id once.
type sink struct {
	t *testing.T

	mu       sync.Mutex
	failures int // answers that are to be errors, after the events were taken
	events   map[string]event
	sent     int
	changed  chan struct{}
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	var events []event
	if err == nil {
		err = json.Unmarshal(body, &events)
	}
	if err != nil || r.Header.Get("Content-Type") != batchType || r.Header.Get("Authorization") != "Bearer hush" {
		s.t.Errorf("got %s with %v: %v", body, r.Header, err)
	}
	for _, e := range events {
		s.sent++
		if before, there := s.events[e.ID]; there && before != e {
			s.t.Errorf("event %s was %+v, and now is %+v", e.ID, before, e)
		}
		s.events[e.ID] = e
	}
	if s.failures > 0 {
		s.failures--
		http.Error(w, "busy \x1b[31m", http.StatusServiceUnavailable)
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// await waits until the sink has so many calls.
func (s *sink) await(calls int64) {
	s.t.Helper()
	deadline := time.After(time.Minute)
	for {
		s.mu.Lock()
		var sum int64
		for _, e := range s.events {
			sum += e.Data.Calls
		}
		s.mu.Unlock()
		if sum == calls {
			return
		}
		select {
		case <-s.changed:
		case <-deadline:
			s.t.Fatalf("the sink has %d calls, want %d", sum, calls)
		}
	}
}

// What a sink gets adds up to what the ledger has, though it gets some of it more than
// once, and the gateway is started again meanwhile.
func TestExport(t *testing.T) {
	t.Parallel()
	s := &sink{t: t, events: map[string]event{}, failures: 2, changed: make(chan struct{}, 1)}
	server := httptest.NewServer(s)
	defer server.Close()
	p := rules(func(p *policy.Policy) {
		p.Usage.Export = &policy.UsageExport{URL: server.URL, Headers: map[string]string{"Authorization": "Bearer hush"}, Interval: time.Second}
	})
	folder := t.TempDir()
	m, stop := running(t, folder, time.Now, p)
	const callers = 2*eventsAtOnce + 10 // more than go at once
	for i := range callers {
		_ = call(m, func(c *telemetry.Call) { c.Caller.Subject = fmt.Sprint("key:", i) })
	}
	s.await(callers)
	for range 5 {
		_ = call(m)
	}
	stop()
	m, _ = running(t, folder, time.Now, p)
	for range 5 {
		_ = call(m)
	}
	s.await(callers + 10)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sent <= len(s.events) {
		t.Errorf("got %d events %d times, want that some came again", len(s.events), s.sent)
	}
	for id, e := range s.events {
		if e.SpecVersion != "1.0" || e.Type != eventType || e.Subject != "acme" || e.Data.WallSeconds == "" || e.Source == "" || e.ID != id || e.Time.Minute() != 0 {
			t.Errorf("got %+v", e)
		}
	}
}
