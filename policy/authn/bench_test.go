package authn_test

import (
	"testing"

	"mcpgateway/policy/authn"
	"mcpgateway/policy/authntest"
)

// BenchmarkAuthenticate compares what a request costs whose token is remembered with
// one whose token is not.
func BenchmarkAuthenticate(b *testing.B) {
	w := authntest.New(b)
	for _, c := range w.Good() {
		if c.Certificate != nil {
			continue
		}
		state := authn.NewState()
		a := newAuthenticator(b, w.Authentication(c.Setup), w.Stored(), state)
		request := authn.Request{Transport: "http", Header: c.Header}
		once := func() {
			if _, err := a.Authenticate(b.Context(), request); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(string(c.Setup)+"/"+c.Name+"/known", func(b *testing.B) {
			for b.Loop() {
				once()
			}
		})
		b.Run(string(c.Setup)+"/"+c.Name+"/new", func(b *testing.B) {
			for b.Loop() {
				state.Forget()
				once()
			}
		})
		state.Close()
	}
}
