// Command mcp-gateway-proxy is the unprivileged side of the gateway: it serves
// clients on the listeners that it inherits and reaches servers through the
// descriptors that the daemon hands it. It refuses to run with privileges.
//
// Runs in: proxy.
package main

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"os/signal"
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

func main() {
	path := flag.String("control", "/run/mcp-gateway/control.sock", "path of the daemon's control `socket`")
	state := flag.String("state-dir", os.Getenv("STATE_DIRECTORY"), "keep the ledger of what was used in `DIR`, the proxy's own")
	flag.Parse()
	forgetTelemetry()
	handler := logs.New("proxy", "mcp-gateway-proxy")
	log := slog.New(handler)
	slog.SetDefault(log) // and so that of libraries
	if err := run(*path, *state, handler.Apply, log); err != nil {
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
func run(path, state string, logging func(policy.Logging), log *slog.Logger) error {
	if err := dropPrivileges(); err != nil {
		return err
	}
	clients, own, err := inherit()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	manager := &service{log: log}
	var p *proxy.Proxy // set before the client delivers anything
	client, err := peer.Dial(ctx, path, peer.Notices{
		Policy: func(generation uint64, document []byte) error {
			return manager.reloading(func() error { return p.Apply(generation, document) })
		},
		Audit:    func(log control.Log, file *os.File) { p.TakeAudit(handover(log, file)) },
		Exited:   func(exit control.Exit) { p.Exited(exit) },
		Recorded: func(line string) { p.Audit().Mirror(line) },
		Reloaded: func(generation uint64, good bool) { p.Reloaded(generation, good) },
	})
	if err != nil {
		return err
	}
	p = proxy.New(proxy.Options{Daemon: client, Audit: audit.New(keeper{client}, log), StateDir: state, Log: log, Logging: logging})
	return serve(ctx, p, client, clients, own, manager)
}

// serve runs the actors; the first that ends stops the others. The control
// connection goes last: instances are stopped over it.
func serve(signalled context.Context, p *proxy.Proxy, client *peer.Client, clients proxy.Listeners, own listeners, manager *service) error {
	ctx, cancel := context.WithCancelCause(signalled)
	defer cancel(nil)
	connected, disconnect := context.WithCancel(context.WithoutCancel(ctx))
	defer disconnect()

	var link, actors, records sync.WaitGroup
	auditing, audited := context.WithCancel(context.WithoutCancel(ctx))
	defer audited()
	start := func(group *sync.WaitGroup, actor func() error) {
		group.Go(func() {
			cancel(actor())
		})
	}
	start(&link, func() error { return client.Run(connected) })
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
	start(&actors, func() error { return manager.announce(ctx, p) })
	start(&actors, func() error { return manager.watch(ctx, p) })
	stopping := context.AfterFunc(ctx, func() { manager.tell(daemon.SdNotifyStopping) })
	defer stopping()
	actors.Wait()
	audited() // the last records are written, and signed over the connection; the last spans are sent
	records.Wait()
	disconnect()
	link.Wait()
	if signalled.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}
