package httpfront

import (
	"fmt"
	"net/http"
)

// newAdmin serves what a supervisor asks: is the process there, is it ready, and what
// does it do.
func newAdmin(ready func() error, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		setHeaders(w.Header())
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		setHeaders(w.Header())
		if err := ready(); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, err)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		setHeaders(w.Header())
		metrics.ServeHTTP(w, r)
	})
	return mux
}
