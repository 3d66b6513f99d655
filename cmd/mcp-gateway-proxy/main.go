// Command mcp-gateway-proxy is the unprivileged side of the gateway: it serves
// clients on the listeners that it inherits, or opens where no service manager does,
// and reaches servers through the descriptors that the daemon hands it. It refuses to
// run with privileges.
//
// Runs in: proxy.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"mcpgateway/policy"
	"mcpgateway/policy/audit"
	"mcpgateway/proxy"
	"mcpgateway/runtime/control"
	"mcpgateway/runtime/logs"
	"mcpgateway/runtime/peer"
)

// firstPolicyWait is how long clients wait for the daemon's first policy.
const firstPolicyWait = 10 * time.Second

// gcPercent is how much Go's heap may grow, in percent, before garbage is collected. What
// lives is a few MB, and at the usual 100 collecting is a tenth of a call's time. At this it
// is half of that, for 4 MB more in memory.
const gcPercent = 200

func main() {
	path := flag.String("control", "/run/mcp-gateway/control.sock", "path of the daemon's control `socket`")
	state := flag.String("state-dir", os.Getenv("STATE_DIRECTORY"), "keep the ledger of what was used in `DIR`, the proxy's own")
	wanted := addresses{}
	flag.Var(wanted, "listen", "listen on `NAME=ADDRESS`, where no service manager does so, as in containers. NAME is http, grpc, websocket, sse\n"+
		"or admin (health, metrics), and ADDRESS is IP:PORT, or :PORT for all addresses; or NAME is operator, and\nADDRESS the path of a Unix socket for root. Repeat it for each")
	flag.Parse()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	forgetTelemetry()
	handler := logs.New("proxy", "mcp-gateway-proxy")
	log := slog.New(handler)
	slog.SetDefault(log) // and so that of libraries
	if err := run(*path, *state, wanted, handler.Apply, log); err != nil {
		log.Error("proxy ended", "err", err)
		(&service{log: log}).tell("STATUS=" + oneLine(err.Error()))
		os.Exit(1)
	}
}

// forgetTelemetry removes what OpenTelemetry's libraries would read of the environment,
// such as names of files: the configuration alone decides where what is told.
func forgetTelemetry() {
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "OTEL_") {
			_ = os.Unsetenv(name) // fails for impossible names alone
		}
	}
}

// run serves until a signal comes or an actor fails.
func run(path, state string, wanted addresses, logging func(policy.Logging), log *slog.Logger) error {
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %.100q: see -help", flag.Arg(0))
	}
	if err := dropPrivileges(); err != nil {
		return err
	}
	clients, own, err := openAll(wanted)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)

	manager := &service{log: log}
	var p *proxy.Proxy // set before the link delivers anything
	link := peer.NewLink(path, peer.Notices{
		Policy: func(generation uint64, document []byte) error {
			err := manager.reloading(func() error { return p.Apply(generation, document) })
			if errors.Is(err, proxy.ErrForeign) {
				end(err)
			}
			return err
		},
		Audit:    func(log control.Log, file *os.File) { p.TakeAudit(handover(log, file)) },
		Exited:   func(exit control.Exit) { p.Exited(exit) },
		Recorded: func(line string) { p.Audit().Mirror(line) },
		Reloaded: func(generation uint64, good bool) { p.Reloaded(generation, good) },
	}, func(why error) {
		p.Lost(why)
		manager.tell("STATUS=waiting for the daemon: " + oneLine(why.Error()))
	})
	p = proxy.New(proxy.Options{Daemon: link, Audit: audit.New(keeper{link}, log), StateDir: state, Log: log, Logging: logging})
	return serve(ctx, p, link, clients, own, manager)
}

// serve runs the actors; the first that ends stops the others. The link to the daemon goes
// last: instances are stopped over it.
func serve(signalled context.Context, p *proxy.Proxy, link *peer.Link, clients proxy.Listeners, own listeners, manager *service) error {
	processors := newProcessors()
	ctx, cancel := context.WithCancelCause(signalled)
	defer cancel(nil)
	connected, disconnect := context.WithCancel(context.WithoutCancel(ctx))
	defer disconnect()

	var connection, actors, records sync.WaitGroup
	auditing, audited := context.WithCancel(context.WithoutCancel(ctx))
	defer audited()
	start := func(group *sync.WaitGroup, actor func() error) {
		group.Go(func() {
			cancel(actor())
		})
	}
	start(&connection, func() error { return link.Run(connected) })
	start(&records, func() error { return p.Audit().Run(auditing) })
	start(&records, func() error { return p.Usage().Run(auditing) })
	start(&records, func() error { return p.Trace(auditing) })
	start(&actors, func() error {
		// A client whose connection started the gateway waits in the socket's queue
		// rather than being told to come again; but not for ever.
		waiting, done := context.WithTimeout(ctx, firstPolicyWait)
		defer done()
		_ = p.Await(waiting)
		return p.Serve(ctx, clients)
	})
	start(&actors, func() error { return p.Sample(ctx) })
	start(&actors, func() error { return p.CheckHealth(ctx) })
	start(&actors, func() error { return p.ServeAdmin(ctx, own.admin...) })
	start(&actors, func() error { return p.ServeOperator(ctx, own.operator...) })
	start(&actors, func() error { return processors.run(ctx, processorTick) })
	start(&actors, func() error { return manager.announce(ctx, p) })
	start(&actors, func() error { return manager.watch(ctx, p) })
	stopping := context.AfterFunc(ctx, func() { manager.tell(daemon.SdNotifyStopping) })
	defer stopping()
	actors.Wait()
	audited() // the last records are written, and signed over the connection; the last spans are sent
	records.Wait()
	disconnect()
	connection.Wait()
	if cause := context.Cause(signalled); errors.Is(cause, proxy.ErrForeign) {
		return cause
	}
	if signalled.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}
