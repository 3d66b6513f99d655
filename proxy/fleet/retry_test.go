package fleet

import (
	"strings"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/retry"
)

// thrice is how often requests are made, if they may be made again.
func thrice(idempotent bool) retry.Spec {
	return retry.Spec{
		Retry: policy.Retry{Attempts: 3, Backoff: time.Millisecond, MaxBackoff: time.Millisecond}, Limit: time.Minute, Idempotent: idempotent,
	}
}

// A real process that ends before it answers: the request goes to a new one if nothing can
// have changed by it, and to no other if something can.
func TestRequestsAreRepeated(t *testing.T) {
	for _, test := range []struct {
		name       string
		idempotent bool
		starts     int
	}{
		{"a call that may have had an effect", false, 1},
		{"a call that is idempotent", true, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			fleet, opener := newFleet(t)
			call, err := retry.Do(t.Context(), fleet.Server(spec("modern"), by("key:a")), request(t, "{}", "tools/call", `"name":"crash"`), thrice(test.idempotent))
			if err != nil {
				t.Fatal(err)
			}
			answer, err := link.Await(t.Context(), call)
			if text, _ := answer.Text(answer.InError("message")); err != nil || !strings.Contains(text, "exited with status 3") {
				t.Errorf("got %s, %v", answer.Raw(), err)
			}
			started := 0
			for _, sandbox := range opener.Opened() {
				if strings.HasPrefix(sandbox, "modern") {
					started++
				}
			}
			if started != test.starts {
				t.Errorf("got %d instances, want %d", started, test.starts)
			}
		})
	}
}

// A list that was waiting when its instance crashed is answered by the next one.
func TestListSurvivesACrash(t *testing.T) {
	fleet, opener := newFleet(t)
	route := fleet.Server(spec("modern"), by("key:a"))
	pid(t, route)
	// A stopped process reads nothing: the list is in flight when it is killed.
	if err := opener.Freeze(t.Context(), "modern-1"); err != nil {
		t.Fatal(err)
	}
	call, err := retry.Do(t.Context(), route, request(t, "{}", "tools/list", ""), thrice(false))
	if err != nil {
		t.Fatal(err)
	}
	if err := opener.Stop(t.Context(), "modern-1"); err != nil {
		t.Fatal(err)
	}
	answer, err := link.Await(t.Context(), call)
	if err != nil || answer.Err() != nil || string(answer.ID()) != `"mine"` {
		t.Errorf("got %s, %v", answer.Raw(), err)
	}
	if got := len(opener.Opened()); got != 2 {
		t.Errorf("got %d instances, want a second one", got)
	}
}
