// Mcp-gatewayd is the gateway's privileged daemon: it starts, limits, watches and
// stops the sandboxes that MCP servers run in. It speaks with the proxy and with
// administrators over the control socket, and with nobody else.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	notify "github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"mcpgateway/runtime/daemon"
	"mcpgateway/runtime/logs"
)

// retirement is generous: the proxy ends what has changed when its calls have.
const retirement = time.Minute

// watchEvery is often enough for who has just changed a file.
const watchEvery = time.Second

func main() {
	log := logs.New("daemon", "mcp-gatewayd")
	slog.SetDefault(slog.New(log))
	// The warnings of opencontainers/cgroups.
	logrus.SetOutput(slog.NewLogLogger(log, slog.LevelWarn).Writer())
	logrus.SetFormatter(&logrus.TextFormatter{DisableTimestamp: true})
	if err := run(log); err != nil {
		fmt.Fprintln(os.Stderr, "mcp-gatewayd:", err)
		os.Exit(1)
	}
}

// keepSecrets keeps the servers' secrets out of core dumps, also of what is started
// from here, and out of the reach of debuggers.
func keepSecrets() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("turn core dumps off: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make the process undumpable: %w", err)
	}
	return nil
}

type flags struct {
	config, stateDir, runtimeDir, launcher, proxyUser, listen string
}

func parseFlags() flags {
	var f flags
	flag.StringVar(&f.config, "config", "/etc/mcp-gateway/mcp-gateway.yaml", "read the configuration from `FILE`")
	flag.StringVar(&f.stateDir, "state-dir", "/var/lib/mcp-gateway", "keep API keys' hashes and the audit log's key in `DIR`")
	flag.StringVar(&f.runtimeDir, "runtime-dir", "/run/mcp-gateway", "keep what does not outlive the daemon in `DIR`")
	flag.StringVar(&f.launcher, "launcher", "", "the mcp-gateway-launch `FILE` (default: beside this program)")
	flag.StringVar(&f.proxyUser, "proxy-user", "mcp-gateway", "the `USER` that the proxy runs as")
	flag.StringVar(&f.listen, "listen", "", "make the control socket at `PATH`, in the run-time folder, where no service manager does so, as in containers")
	flag.Parse()
	return f
}

func run(log *logs.Handler) error {
	f := parseFlags()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: see -help", flag.Arg(0))
	}
	if os.Geteuid() != 0 {
		return errors.New("this daemon makes namespaces and cgroups: run it as root")
	}
	unix.Umask(0o022)
	if err := keepSecrets(); err != nil {
		return err
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, unix.SIGHUP) // from now on: one that comes early must not end the daemon
	options, err := newOptions(f)
	if err != nil {
		return err
	}
	options.Logging = log.Apply
	told := &manager{}
	options.Reloading = told.reloading
	unlock, err := lockDir(f.runtimeDir)
	if err != nil {
		return err
	}
	defer unlock()
	if options.Listener, err = listen(f, options.ProxyUID); err != nil {
		return err
	}
	d, err := daemon.New(options)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	context.AfterFunc(ctx, func() { tell(notify.SdNotifyStopping) })
	tell(notify.SdNotifyReady)
	var helpers sync.WaitGroup
	helpers.Go(func() { reload(ctx, d, hangups) })
	helpers.Go(func() { told.watch(ctx, d) })
	err = d.Run(ctx)
	stop() // it may have ended by itself
	helpers.Wait()
	return errors.Join(err, os.RemoveAll(options.Dir))
}

// reload reads the configuration anew at each signal, until ctx ends.
func reload(ctx context.Context, d *daemon.Daemon, hangups <-chan os.Signal) {
	for {
		select {
		case <-hangups:
		case <-ctx.Done():
			return
		}
		if err := d.Reload(); err != nil {
			slog.Error(refused, "err", err)
		} else {
			slog.Info("reloaded at SIGHUP: " + inForce)
		}
	}
}

func newOptions(f flags) (daemon.Options, error) {
	uid, err := lookupUser(f.proxyUser)
	if err != nil {
		return daemon.Options{}, err
	}
	if f.launcher == "" {
		self, err := os.Executable()
		if err != nil {
			return daemon.Options{}, fmt.Errorf("find mcp-gateway-launch: %w", err)
		}
		f.launcher = filepath.Join(filepath.Dir(self), "mcp-gateway-launch")
	}
	return daemon.Options{
		Config: f.config, Keys: filepath.Join(f.stateDir, "keys.json"), TokenKey: filepath.Join(f.stateDir, "jwt.key"), State: f.stateDir, Dir: filepath.Join(f.runtimeDir, "sandboxes"),
		Launcher: f.launcher, ProxyUID: uid, Retirement: retirement, WatchEvery: watchEvery,
	}, nil
}

func lookupUser(name string) (uid int, err error) {
	found, err := user.Lookup(name)
	if err != nil {
		return 0, fmt.Errorf("proxy user %q: %w: create it (useradd --system %[1]s) or name another with -proxy-user", name, err)
	}
	return strconv.Atoi(found.Uid)
}

// listen takes over the control socket, or makes it in the run-time folder, whose lock
// says that nobody listens on one that is there already.
func listen(f flags, proxyUID int) (*net.UnixListener, error) {
	if f.listen == "" {
		return inherited()
	}
	dir, err := os.Stat(f.runtimeDir)
	switch {
	case err != nil:
		return nil, fmt.Errorf("make control socket: %w", err)
	case os.Getenv("LISTEN_FDS") != "":
		return nil, errors.New("the service manager passed a socket, and -listen names one as well: use either")
	case filepath.Dir(f.listen) != filepath.Clean(f.runtimeDir):
		return nil, fmt.Errorf("-listen %s: not in the run-time folder: name %s", f.listen, filepath.Join(f.runtimeDir, "control.sock"))
	case dir.Sys().(*syscall.Stat_t).Uid != 0:
		return nil, fmt.Errorf("run-time folder %s is not root's: give the daemon one of its own", f.runtimeDir)
	}
	_ = os.Remove(f.listen) // what can't be removed is in the way below
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: f.listen, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	// The folder, a volume of a container, may be everybody's at first; root alone can
	// connect until the socket is the proxy's.
	return listener, errors.Join(os.Chmod(f.runtimeDir, 0o755), os.Chmod(f.listen, 0o600), os.Lchown(f.listen, proxyUID, 0))
}

// inherited takes over descriptor 3 as sd_listen_fds(3) says. go-systemd's package
// for it would link crypto/tls into the daemon.
func inherited() (*net.UnixListener, error) {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) || os.Getenv("LISTEN_FDS") != "1" {
		return nil, errors.New("the service manager passed no control socket, or more than that: start mcp-gatewayd.socket; without a service manager, use -listen")
	}
	const firstFD = 3
	unix.CloseOnExec(firstFD)
	file := os.NewFile(firstFD, "control")
	defer file.Close()
	found, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("take the control socket from the service manager: %w", err)
	}
	listener, ok := found.(*net.UnixListener)
	if !ok || listener.Addr().Network() != "unixpacket" {
		found.Close()
		return nil, errors.New("the socket from the service manager is not a SOCK_SEQPACKET Unix socket")
	}
	return listener, nil
}

// lockDir makes the run-time folder, and sure that no other daemon uses it.
func lockDir(runtimeDir string) (unlock func(), err error) {
	if err := os.MkdirAll(runtimeDir, 0o755); err != nil {
		return nil, fmt.Errorf("make run-time folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(runtimeDir, "daemon.lock"), unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock run-time folder: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("lock run-time folder %s: another daemon uses it: %w", runtimeDir, err)
	}
	return func() { lock.Close() }, nil
}
