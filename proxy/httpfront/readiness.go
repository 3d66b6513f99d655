package httpfront

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode"
)

// Readiness says what can take calls now.
type Readiness struct {
	Gateway func() error    // why the gateway is not ready; nil if it is
	Servers func() []string // that there are
	// Server is why a server can take no call; nil if it can. known is false if there is
	// no such server.
	Server func(name string) (why error, known bool)
}

const (
	maxReason = 300  // bytes of why something is not ready
	maxListed = 1000 // servers in one answer
)

// state is an answer to programs.
type state struct {
	Name    string  `json:"name,omitempty"` // of a server
	Ready   bool    `json:"ready"`
	Reason  string  `json:"reason,omitempty"`
	Servers []state `json:"servers,omitempty"`
	Omitted int     `json:"omitted,omitempty"` // servers that are not among them
}

// gateway answers for the gateway, which is what its servers have no part in; with
// ?verbose it tells of them, too.
func (r Readiness) gateway(w http.ResponseWriter, request *http.Request) {
	setHeaders(w.Header())
	s := stateOf("", r.Gateway())
	if request.URL.Query().Has("verbose") {
		s.Servers, s.Omitted = r.servers()
	}
	status := statusOf(s)
	switch {
	case wantsJSON(request):
		answerJSON(w, status, s)
	case request.URL.Query().Has("verbose"):
		w.WriteHeader(status)
		s.write(w)
	default:
		w.WriteHeader(status)
		fmt.Fprintln(w, s.line())
	}
}

// server answers for one server.
func (r Readiness) server(w http.ResponseWriter, request *http.Request) {
	setHeaders(w.Header())
	name := request.PathValue("name")
	why, known := r.Server(name)
	s, status := stateOf(name, why), http.StatusNotFound
	if known {
		status = statusOf(s)
	} else {
		s = state{Reason: fmt.Sprintf("no server is named %.64q", name)}
	}
	if wantsJSON(request) {
		answerJSON(w, status, s)
		return
	}
	w.WriteHeader(status)
	fmt.Fprintln(w, s.line())
}

// servers are the states of the servers, but for so many.
func (r Readiness) servers() (all []state, omitted int) {
	names := r.Servers()
	if over := len(names) - maxListed; over > 0 {
		names, omitted = names[:maxListed], over
	}
	for _, name := range names {
		if why, known := r.Server(name); known { // else it has gone meanwhile
			all = append(all, stateOf(name, why))
		}
	}
	return all, omitted
}

func stateOf(name string, why error) state {
	if why == nil {
		return state{Name: name, Ready: true}
	}
	return state{Name: name, Reason: reason(why)}
}

func statusOf(s state) int {
	if s.Ready {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}

// reason is an error as one line of bounded length that steers no terminal.
func reason(err error) string {
	text := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, err.Error())
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return text
}

func (s state) line() string {
	if s.Ready {
		return "ready"
	}
	return s.Reason
}

// write lists all in the manner of Kubernetes.
func (s state) write(w http.ResponseWriter) {
	check := func(name string, of state) {
		if of.Ready {
			fmt.Fprintf(w, "[+]%s ok\n", name)
			return
		}
		fmt.Fprintf(w, "[-]%s failed: %s\n", name, of.Reason)
	}
	check("gateway", s)
	for _, server := range s.Servers {
		check("server/"+server.Name, server)
	}
	if s.Omitted > 0 {
		fmt.Fprintf(w, "and %d servers more\n", s.Omitted)
	}
	verdict := "passed"
	if !s.Ready {
		verdict = "failed"
	}
	fmt.Fprintf(w, "readyz check %s\n", verdict)
}

func wantsJSON(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "application/json")
}

func answerJSON(w http.ResponseWriter, status int, s state) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(s) // to a client that may have gone
}
