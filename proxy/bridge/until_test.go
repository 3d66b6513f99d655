package bridge

import (
	"context"
	"errors"
	"testing"
	"time"
)

type wordKey struct{}

// until ends with either, for its cause, whether somebody waits for it, or for what is made of
// it, or asks afterwards.
func TestUntil(t *testing.T) {
	t.Parallel()
	cause := errors.New("because")
	for _, test := range []struct {
		name  string
		first bool // which ends
		child bool // what is made of it is waited for
	}{{"the request", true, false}, {"the exchange", false, false}, {"the request, by a child", true, true}, {"the exchange, by a child", false, true}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			request, endRequest := context.WithCancelCause(context.WithValue(t.Context(), wordKey{}, "word"))
			exchange, endExchange := context.WithCancelCause(t.Context())
			defer endRequest(nil)
			defer endExchange(nil)
			u := &until{Context: request, while: exchange}
			defer u.end(nil)
			if u.Err() != nil || u.Value(wordKey{}) != "word" {
				t.Errorf("got %v and %v before the end", u.Err(), u.Value(wordKey{}))
			}
			var waited context.Context = u
			if test.child {
				child, cancel := context.WithTimeout(u, time.Hour)
				defer cancel()
				waited = child
			}
			done := waited.Done()
			if test.first {
				endRequest(cause)
			} else {
				endExchange(cause)
			}
			select {
			case <-done:
			case <-time.After(time.Minute):
				t.Fatal("it has not ended")
			}
			if !errors.Is(waited.Err(), context.Canceled) || !errors.Is(context.Cause(waited), cause) || waited.Value(wordKey{}) != "word" {
				t.Errorf("got %v for %v", waited.Err(), context.Cause(waited))
			}
		})
	}
}

// Who asks without having waited hears of an end, too.
func TestUntilAskedLate(t *testing.T) {
	t.Parallel()
	exchange, end := context.WithCancel(t.Context())
	u := &until{Context: t.Context(), while: exchange}
	end()
	if u.Err() == nil {
		t.Error("got no error after the end")
	}
	select {
	case <-u.Done():
	case <-time.After(time.Minute):
		t.Error("it has not ended")
	}
	u.end(nil)
}

// What was made of it and outlives it has ended with it.
func TestUntilIsClosed(t *testing.T) {
	t.Parallel()
	for _, waited := range []bool{true, false} {
		u := &until{Context: t.Context(), while: t.Context()}
		if waited {
			u.Done()
		}
		u.end(nil)
		if u.Err() == nil {
			t.Error("got no error after it was closed")
		}
		select {
		case <-u.Done():
		case <-time.After(time.Minute):
			t.Error("it has not ended")
		}
		u.end(nil)
	}
}
