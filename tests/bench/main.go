// Bench measures the gateway, with all of its security on, beside what it is compared
// with: the same server called without it, and other gateways. It prints one table, says
// which targets are met, and appends the figures to a file. It needs root, Go and the
// gateway's binaries (make build); README.md says what is measured and how.
//
//	go run ./tests/bench [-short] [-sessions 1,16,64] [-transport http,websocket,grpc] …
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/tests/traffic"
)

// options are the command's flags.
type options struct {
	sessions   []int
	duration   time.Duration
	runs       int
	starts     int // of sandboxes
	churn      int // sessions
	crowd      int // clients, and as many sessions
	servers    int // tiny ones
	rate       float64
	transports []string
	eras       []traffic.Era
	bin        string
	history    string
	profile    string
	peers      bool
	peerCmd    string
}

func main() {
	runtime.LockOSThread()
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
		defer stop()
		err = bench(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	o := options{peers: os.Getenv("BENCH_PEERS") == "1", peerCmd: os.Getenv("BENCH_PEER_CMD")}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	short := f.Bool("short", false, "one run of a second each, with 1 and 16 sessions")
	sessions := f.String("sessions", "1,16,64", "numbers of sessions at a time")
	era := f.String("era", "2025-11-25,2026-07-28", "revisions to speak: "+string(traffic.Handshake)+", "+string(traffic.Stateless))
	transport := f.String("transport", "http,websocket,grpc", "the gateway's transports")
	f.DurationVar(&o.duration, "duration", 3*time.Second, "how long each line is measured in a run")
	f.IntVar(&o.runs, "runs", 3, "how often all is measured; the table has the medians")
	f.IntVar(&o.starts, "starts", 30, "how many sandboxes are started in a run")
	f.IntVar(&o.churn, "churn", 50000, "how many sessions are opened and closed, once; 0: none")
	f.IntVar(&o.crowd, "crowd", 10000, "how many idle clients there are, and as many idle sessions, once; 0: none")
	f.IntVar(&o.servers, "servers", 1000, "how many tiny servers are started, once; 0: none")
	f.Float64Var(&o.rate, "rate", 1000, "calls a second of the lines with a fixed rate; 0: none")
	f.StringVar(&o.bin, "bin", "bin", "the folder of the gateway's binaries")
	f.StringVar(&o.history, "history", "tests/bench/history.jsonl", "append the figures to this file; empty: to none")
	f.StringVar(&o.profile, "profile", "bin/profile", "keep profiles of the proxy in this folder; needs the sources in the working one; empty: none")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if *short {
		err := errors.Join(shorten(f, "runs", "1"), shorten(f, "duration", "1s"), shorten(f, "starts", "10"), shorten(f, "churn", "0"), shorten(f, "crowd", "0"), shorten(f, "servers", "0"),
			shorten(f, "sessions", "1,16"))
		if err != nil {
			return o, err
		}
	}
	if o.runs < 1 || o.starts < 1 || o.duration <= 0 || o.rate < 0 || min(o.churn, o.crowd, o.servers) < 0 || o.crowd > 20000 || o.servers > 2000 {
		return o, errors.New("-runs, -starts and -duration must be above zero, -rate and -churn not below, -crowd from 0 to 20000 and -servers from 0 to 2000")
	}
	for text := range strings.SplitSeq(*sessions, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 128 {
			return o, fmt.Errorf("-sessions: %q is no number from 1 to 128", text)
		}
		o.sessions = append(o.sessions, n)
	}
	for text := range strings.SplitSeq(*era, ",") {
		if e := traffic.Era(text); e != traffic.Handshake && e != traffic.Stateless {
			return o, fmt.Errorf("-era: unknown %q", text)
		}
		o.eras = append(o.eras, traffic.Era(text))
	}
	o.transports = strings.Split(*transport, ",")
	for _, text := range o.transports {
		if !slices.Contains([]string{"http", "websocket", "grpc"}, text) {
			return o, fmt.Errorf("-transport: unknown %q", text)
		}
	}
	return o, nil
}

// allowFiles lets this process, and the gateways that it starts, have so many open
// files: each connection of a crowd is one.
func allowFiles(n int) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Max = max(limit.Max, uint64(n))
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raise the limit of open files to %d, for -crowd: %w", limit.Max, err)
	}
	return nil
}

// shorten sets a flag that was not given.
func shorten(f *flag.FlagSet, name, value string) error {
	var given bool
	f.Visit(func(flag *flag.Flag) { given = given || flag.Name == name })
	if given {
		return nil
	}
	return f.Set(name, value)
}

// bench prints and keeps what was measured, once nothing runs any more.
func bench(ctx context.Context, o options) error {
	if os.Geteuid() != 0 {
		return errors.New("sandboxes need root")
	}
	if err := allowFiles(o.crowd + 2048); err != nil {
		return err
	}
	r, err := measureAll(ctx, o)
	if err != nil {
		return err
	}
	r.print(os.Stdout)
	return r.remember(o.history)
}

// measureAll starts everything, measures it run by run, so that what else the host does
// weighs on all alike, and stops it.
func measureAll(ctx context.Context, o options) (all *report, err error) {
	b, err := newBed(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	lines := b.lines(o)
	all = newReport(o, lines)
	for i := range o.runs {
		fmt.Fprintf(os.Stderr, "run %d of %d\n", i+1, o.runs)
		r, err := b.run(ctx, o, lines)
		if err != nil {
			return nil, err
		}
		all.runs = append(all.runs, r)
	}
	if all.Once, err = b.once(ctx, o); err != nil {
		return nil, err
	}
	all.end()
	if o.profile != "" {
		if err := b.profile(ctx, o); err != nil {
			return nil, err
		}
	}
	return all, nil
}
