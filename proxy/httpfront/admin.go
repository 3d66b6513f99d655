package httpfront

import (
	"fmt"
	"net/http"
)

// newAdmin serves what a supervisor asks: is the process there, is it ready, and what
// does it do.
func newAdmin(ready Readiness, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		setHeaders(w.Header())
		if wantsJSON(r) {
			answerJSON(w, http.StatusOK, state{Ready: true})
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		setHeaders(w.Header())
		metrics.ServeHTTP(w, r)
	})
	mux.HandleFunc("GET /readyz", ready.gateway)
	mux.HandleFunc("GET /readyz/{name}", ready.server)
	return mux
}
