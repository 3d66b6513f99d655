// Package operator answers what the gateway's operator asks the proxy: HTTP over a Unix
// socket that only root can open, and that asks again who is there. It starts, stops and
// restarts servers and calls their tools when it is told so, which the audit log is told;
// it changes no configuration. Its answers hold what servers wrote, as they wrote it: who
// reads them must not believe them, nor show them as they are.
//
// Runs in: proxy.
package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/arrivals"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/ledger"
	"mcpgateway/proxy/pins"
	"mcpgateway/proxy/report"
	"mcpgateway/proxy/tail"
	"mcpgateway/proxy/usage"
)

// Bounds of what operators can take.
const (
	maxConnections = 16
	headerWait     = 5 * time.Second
	maxHeaderBytes = 8 << 10
	maxBodyBytes   = 4 << 20          // of a call's arguments
	answerWait     = 90 * time.Second // for a server to start and to list, too
	maxCallWait    = time.Hour
	idleWait       = 10 * time.Second
)

// Source is what operators are told of, and what does as they say. Its methods may be
// called concurrently.
type Source interface {
	// PinModes gives every server of the generation in force.
	PinModes() map[string]policy.PinMode
	// Listing asks a server of that generation for its tools.
	Listing(ctx context.Context, server string) (pins.Listing, error)
	// States gives instances, and the breakers of their places.
	States() []fleet.State
	Status() report.Status
	// Servers gives those of the generation in force, sorted.
	Servers() []report.Server
	// Server gives one of them.
	Server(name string) (detail report.Detail, known bool)
	// Follow reads what a server writes to its standard error, from the last n lines on.
	Follow(server string, n int) (*tail.Reader, error)
	// Lines gives the last n lines of that.
	Lines(server string, n int) []report.Line

	// Start lifts what keeps a server from being started, and has an instance that works.
	Start(ctx context.Context, server string) (report.Done, error)
	// Stop has calls of a server be refused until Start.
	Stop(ctx context.Context, server string) (report.Done, error)
	// Restart replaces the instances of a server.
	Restart(ctx context.Context, server string) (report.Done, error)
	// Call calls a tool and returns its result.
	Call(ctx context.Context, server string, call report.Call) (json.RawMessage, error)
	// Usage sums up what was used.
	Usage(ctx context.Context, q ledger.Query) (usage.Report, error)
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

// routes is all of the interface, but for logs, whose answer has no end.
func routes() []route {
	return []route{
		{"GET /status", (*Operator).status},
		{"GET /servers", (*Operator).servers},
		{"GET /servers/{server}", (*Operator).server},
		{"POST /servers/{server}/start", act(Source.Start)},
		{"POST /servers/{server}/stop", act(Source.Stop)},
		{"POST /servers/{server}/restart", act(Source.Restart)},
		{"POST /servers/{server}/call", (*Operator).call},
		{"GET /tools", (*Operator).tools},
		{"GET /instances", (*Operator).instances},
		{"GET /usage", (*Operator).usage},
	}
}

const logsRoute = "GET /servers/{server}/logs"

// failure is an error with a status of its own.
type failure struct {
	status int
	error
}

func invalid(format string, a ...any) error {
	return &failure{http.StatusBadRequest, fmt.Errorf(format, a...)}
}

// Failure is every answer that is no success.
type Failure struct {
	Error string `json:"error"`
}

// known is the server that a request's path names.
func (o *Operator) known(r *http.Request) (server string, err error) {
	return o.knows(r.PathValue("server"))
}

func (o *Operator) knows(server string) (string, error) {
	if _, known := o.source.PinModes()[server]; !known {
		return "", &failure{http.StatusNotFound, fmt.Errorf("there is no enabled server %.100q", server)}
	}
	return server, nil
}

// Handler answers requests, whoever sends them: Serve asks who that is.
func (o *Operator) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, route := range routes() {
		mux.HandleFunc(route.pattern, func(w http.ResponseWriter, r *http.Request) {
			wait := patience(r)
			ctx, cancel := context.WithTimeoutCause(r.Context(), wait, fmt.Errorf("not done within %s", wait))
			defer cancel()
			o.extend(w, wait+idleWait)
			r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
			answer, err := route.answer(o, r.WithContext(ctx))
			o.send(w, answer, err)
		})
	}
	mux.HandleFunc(logsRoute, o.logs)
	return mux
}

// patience is how long a request may take.
func patience(r *http.Request) time.Duration {
	if asked, err := time.ParseDuration(r.URL.Query().Get("timeout")); err == nil && asked > 0 {
		return min(asked, maxCallWait)
	}
	return answerWait
}

// extend gives an answer its time from now on. A deadline for reading would end the
// request, as if its client had gone.
func (o *Operator) extend(w http.ResponseWriter, wait time.Duration) {
	control := http.NewResponseController(w)
	if err := errors.Join(control.SetReadDeadline(time.Now().Add(wait)), control.SetWriteDeadline(time.Now().Add(wait))); err != nil {
		o.log.Warn("operator's request has the time of others", "err", err)
	}
}

func (o *Operator) send(w http.ResponseWriter, answer any, err error) {
	status := http.StatusOK
	if err != nil {
		status, answer = http.StatusBadGateway, Failure{err.Error()}
		if own, ok := errors.AsType[*failure](err); ok {
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
	most := arrivals.New(arrivals.Fixed(maxConnections), maxConnections)
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
