// Package operator answers what the gateway's operator asks the proxy: HTTP over a Unix
// socket that only root can open, and that asks again who is there. It changes nothing.
// Its answers hold what servers wrote, as they wrote it: who reads them must not believe
// them, nor show them as they are.
//
// Runs in: proxy.
package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/arrivals"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/pins"
)

// Bounds of what operators can take.
const (
	maxConnections = 16
	headerWait     = 5 * time.Second
	maxHeaderBytes = 8 << 10
	answerWait     = 90 * time.Second // for a server to start and to list, too
	idleWait       = 10 * time.Second
)

// Source is what operators are told of.
type Source interface {
	// PinModes gives every server of the generation in force.
	PinModes() map[string]policy.PinMode
	// Listing asks a server of that generation for its tools.
	Listing(ctx context.Context, server string) (pins.Listing, error)
	// States gives instances, and the breakers of their places.
	States() []fleet.State
}

// Operator serves one source.
type Operator struct {
	source Source
	user   uint32
	log    *slog.Logger
}

// New returns an Operator that talks to processes of one user alone: 0 but in tests.
func New(source Source, user uint32, log *slog.Logger) *Operator {
	return &Operator{source, user, log}
}

// route is one thing that can be asked.
type route struct {
	pattern string
	answer  func(*Operator, *http.Request) (any, error)
}

// routes is all of the interface.
func routes() []route {
	return []route{
		{"GET /servers", (*Operator).servers},
		{"GET /tools", (*Operator).tools},
		{"GET /instances", (*Operator).instances},
	}
}

// Servers is the answer to GET /servers.
type Servers struct {
	Servers []Server `json:"servers"`
}

// Server is one server of the generation in force.
type Server struct {
	Name     string         `json:"name"`
	ToolPins policy.PinMode `json:"tool_pins"`
}

func (o *Operator) servers(*http.Request) (any, error) {
	answer := Servers{Servers: []Server{}}
	for name, mode := range o.source.PinModes() {
		answer.Servers = append(answer.Servers, Server{name, mode})
	}
	slices.SortFunc(answer.Servers, func(a, b Server) int { return cmp.Compare(a.Name, b.Name) })
	return answer, nil
}

// tools answers GET /tools?server=NAME with a pins.Listing.
func (o *Operator) tools(r *http.Request) (any, error) {
	server := r.URL.Query().Get("server")
	if _, known := o.source.PinModes()[server]; !known {
		return nil, &failure{http.StatusNotFound, fmt.Errorf("there is no enabled server %.100q", server)}
	}
	return o.source.Listing(r.Context(), server)
}

// Instances is the answer to GET /instances.
type Instances struct {
	Instances []Instance `json:"instances"`
}

// Instance is a place of instances and its circuit breaker, with what runs there.
type Instance struct {
	Server   string    `json:"server"`
	Place    string    `json:"place"`
	Sandbox  string    `json:"sandbox,omitempty"`
	InFlight int       `json:"in_flight"`
	Breaker  string    `json:"breaker"` // breaker.Closed, "half-open" or "open"
	Failures int       `json:"failures"`
	Until    time.Time `json:"until,omitzero"`
	Cause    string    `json:"cause,omitempty"`
}

func (o *Operator) instances(*http.Request) (any, error) {
	answer := Instances{Instances: []Instance{}}
	for _, s := range o.source.States() {
		answer.Instances = append(answer.Instances, Instance{s.Server, s.Instance, s.Sandbox, s.InFlight, s.State.State, s.Failures, s.Until, s.Cause})
	}
	return answer, nil
}

// failure is an error with a status of its own.
type failure struct {
	status int
	error
}

// Failure is every answer that is no success.
type Failure struct {
	Error string `json:"error"`
}

// Handler answers requests, whoever sends them: Serve asks who that is.
func (o *Operator) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, route := range routes() {
		mux.HandleFunc(route.pattern, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), answerWait)
			defer cancel()
			answer, err := route.answer(o, r.WithContext(ctx))
			o.send(w, answer, err)
		})
	}
	return mux
}

func (o *Operator) send(w http.ResponseWriter, answer any, err error) {
	status := http.StatusOK
	if err != nil {
		status, answer = http.StatusBadGateway, Failure{err.Error()}
		var own *failure
		if errors.As(err, &own) {
			status = own.status
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		o.log.Warn("operator not answered", "err", err)
	}
}

// Serve answers operators on listeners of Unix sockets, which it closes, until ctx ends.
func (o *Operator) Serve(parent context.Context, listeners ...net.Listener) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	server := &http.Server{
		Handler: o.Handler(), ReadHeaderTimeout: headerWait, ReadTimeout: headerWait, WriteTimeout: answerWait + idleWait,
		IdleTimeout: idleWait, MaxHeaderBytes: maxHeaderBytes,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(o.log.Handler(), slog.LevelDebug),
	}
	most := arrivals.New(maxConnections, maxConnections)
	var running sync.WaitGroup
	for _, l := range listeners {
		running.Go(func() {
			if err := server.Serve(most.Limit(&listener{l, o.user, o.log})); !errors.Is(err, http.ErrServerClosed) {
				cancel(err)
			}
		})
	}
	<-ctx.Done()
	server.Close()
	running.Wait()
	if parent.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}
