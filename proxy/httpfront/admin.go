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
	return onLoopback(mux)
}

// onLoopback refuses names that are not this host's where only this host can connect: a
// browser's page could read what is served there by having its own name lead to it (DNS
// rebinding). Elsewhere a name may be anything that leads here.
func onLoopback(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local := localOf(r.Context())
		if local != nil && local.IP.IsLoopback() && !isOurs(hostname(r.Host), local) {
			http.Error(w, "the Host header names no host of this gateway: ask for 127.0.0.1 or localhost", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
