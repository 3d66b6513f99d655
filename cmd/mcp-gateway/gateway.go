package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"mcpgateway/runtime/config"
	"mcpgateway/runtime/ports"
)

// stopTimeout is how long a child has to end after SIGTERM before it is killed.
const stopTimeout = 20 * time.Second

// firstFD is the first descriptor that a child gets beside its standard streams.
const firstFD = 3

// gateway is a daemon and a proxy that run in the foreground. It stands in for
// the service manager: it makes their sockets (sd_listen_fds(3)) and is told when
// they are ready (sd_notify(3)).
type gateway struct {
	addresses  addresses
	options    upOptions
	account    account
	bin        string // folder of this binary
	dir        string // run-time folder, removed at the end
	lock       *os.File
	state      string
	key        string // id of the throw-away key
	clients    sockets
	control    *os.File
	proxyState *os.File
	notify     *net.UnixConn
	listening  chan struct{}
	reports    chan string
	daemon     *exec.Cmd
	proxy      *exec.Cmd
	ends       chan end
	socketPath string
	links      []string // to sockets, in the state folder
	eager      []string // servers that start with the gateway
	ports      ports.Memory
}

// end says that a child has ended.
type end struct {
	name string
	cmd  *exec.Cmd
	err  error
}

func (e end) error() error {
	if e.err == nil {
		return fmt.Errorf("%s ended", e.name)
	}
	return fmt.Errorf("%s ended: %w", e.name, e.err)
}

// newGateway makes everything that a gateway needs to start. On an error nothing
// is left.
func newGateway(o upOptions, cfg *config.Config) (*gateway, error) {
	g := &gateway{options: o, ends: make(chan end, 2), reports: make(chan string, 16), listening: make(chan struct{})}
	if err := g.prepare(cfg); err != nil {
		return nil, errors.Join(err, g.cleanUp())
	}
	return g, nil
}

func (g *gateway) prepare(cfg *config.Config) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	g.bin = filepath.Dir(self)
	g.eager = eagerServers(cfg)
	if g.account, err = lookupAccount(g.options.proxyUser); err != nil {
		return err
	}
	if err := sweep("/run"); err != nil {
		return err
	}
	// Not below the state folder: the proxy and the sandboxes must be able to pass
	// through all folders above it.
	if g.dir, err = os.MkdirTemp("/run", upFolder); err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(g.dir, 0o755), g.holdFolder()); err != nil {
		return err
	}
	if err := g.prepareState(cfg); err != nil {
		return err
	}
	return g.prepareSockets(cfg)
}

func (g *gateway) prepareState(cfg *config.Config) (err error) {
	g.state = g.options.state
	if g.state == "" {
		g.state = filepath.Join(g.dir, "state")
	}
	if err := os.MkdirAll(g.state, 0o755); err != nil {
		return fmt.Errorf("make state folder: %w", err)
	}
	if err := g.prepareProxyState(); err != nil {
		return err
	}
	if tokens := cfg.Security.Authentication.Policy.Tokens; tokens != nil && tokens.Own {
		if _, _, err := ensureTokenKey(tokenKeyFile(g.state)); err != nil {
			return err
		}
	}
	if g.options.withKey {
		g.addresses.Key, g.key, err = createKey(keyFile(g.state), "throw-away", nil, nil, throwAwayLife)
	}
	return err
}

// prepareProxyState makes the proxy's own folder. The proxy gets a descriptor: it may not
// be able to pass through the folders above.
func (g *gateway) prepareProxyState() error {
	path := filepath.Join(g.state, "proxy")
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make the proxy's folder: %w", err)
	}
	dir, err := os.OpenFile(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the proxy's folder: %w", err)
	}
	g.proxyState = dir
	return dir.Chown(int(g.account.uid), int(g.account.gid))
}

func (g *gateway) prepareSockets(cfg *config.Config) error {
	var remembered ports.Memory
	if g.options.state != "" {
		remembered = rememberedPorts(filepath.Join(g.state, portsFile), g.options.problems)
	}
	var err error
	if g.ports, err = g.clients.listenAll(&cfg.Transports, remembered, &g.addresses); err != nil {
		return err
	}
	if err := g.prepareControl(); err != nil {
		return fmt.Errorf("make control socket: %w", err)
	}
	if err := g.prepareOperator(); err != nil {
		return fmt.Errorf("make operator's socket: %w", err)
	}
	path := filepath.Join(g.dir, "notify.sock")
	if g.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}); err != nil {
		return fmt.Errorf("make notification socket: %w", err)
	}
	go g.listen()
	return errors.Join(os.Chown(path, int(g.account.uid), -1), os.Chmod(path, 0o600))
}

func (g *gateway) prepareControl() error {
	g.socketPath = filepath.Join(g.dir, "control.sock")
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: g.socketPath, Net: "unixpacket"})
	if err != nil {
		return err
	}
	defer listener.Close()
	listener.SetUnlinkOnClose(false)
	if g.control, err = listener.File(); err != nil {
		return err
	}
	return errors.Join(
		os.Chown(g.socketPath, int(g.account.uid), -1),
		os.Chmod(g.socketPath, 0o600),
		g.link("control.sock"))
}

// link leaves a link to a socket for commands that know the state folder only.
func (g *gateway) link(name string) error {
	link := filepath.Join(g.state, name)
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(filepath.Join(g.dir, name), link); err != nil {
		return err
	}
	g.links = append(g.links, link)
	return nil
}

func (g *gateway) prepareOperator() error {
	if err := g.clients.listenOperator(filepath.Join(g.dir, operatorLink)); err != nil {
		return err
	}
	return g.link(operatorLink)
}

// start starts daemon and proxy. It must run on a locked thread that lives as long
// as they shall.
func (g *gateway) start() error {
	var err error
	g.daemon, err = g.spawn("mcp-gatewayd", nil, append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=control"), []*os.File{g.control},
		"-config", g.options.config, "-state-dir", g.state, "-runtime-dir", g.dir, "-launcher", program(g.bin, "mcp-gateway-launch"), "-proxy-user", g.account.name)
	if err != nil {
		return err
	}
	// The daemon's copy alone is open now: if it ends, so does the proxy's wait for it.
	if err := g.control.Close(); err != nil {
		return fmt.Errorf("close control socket: %w", err)
	}
	// None of our environment: it may hold the servers' secrets.
	env := append(g.clients.environment(), "PATH=/usr/bin:/bin", "NOTIFY_SOCKET="+filepath.Join(g.dir, "notify.sock"),
		"JOURNAL_STREAM="+os.Getenv("JOURNAL_STREAM"))
	credential := &syscall.Credential{Uid: g.account.uid, Gid: g.account.gid}
	g.proxy, err = g.spawn("mcp-gateway-proxy", credential, env, append(slices.Clone(g.clients.files), g.proxyState),
		"-control", g.socketPath, "-state-dir", fmt.Sprintf("/proc/self/fd/%d", firstFD+len(g.clients.files)))
	return err
}

// spawn starts a binary that lies beside this one. The shell sets LISTEN_PID to
// the process's own id, which nobody can know before it is there.
func (g *gateway) spawn(name string, credential *syscall.Credential, env []string, files []*os.File, args ...string) (*exec.Cmd, error) {
	path, err := g.reachable(program(g.bin, name), credential)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	//nolint:gosec // G204: the programs lie beside this one
	cmd := exec.Command("/bin/sh", append([]string{"-c", `export LISTEN_PID=$$; exec "$0" "$@"`, path}, args...)...)
	cmd.Env, cmd.ExtraFiles = env, files
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: credential,
		Setpgid:    true, // Ctrl-C is for us: we stop the proxy first
		Pdeathsig:  unix.SIGTERM,
	}
	if credential != nil {
		cmd.Dir = "/"
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() { g.ends <- end{name, cmd, cmd.Wait()} }()
	return cmd, nil
}

// reachable returns a path of a binary that the user of credential can execute: a
// copy in the run-time folder if it lies in a folder that others can't enter.
func (g *gateway) reachable(path string, credential *syscall.Credential) (string, error) {
	if credential == nil {
		return path, nil
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return "", err
		}
		if info.Mode()&0o001 == 0 {
			return g.copyBinary(path)
		}
		if dir == "/" {
			return path, nil
		}
	}
}

func (g *gateway) copyBinary(path string) (string, error) {
	from, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer from.Close()
	copied := filepath.Join(g.dir, filepath.Base(path))
	to, err := os.OpenFile(copied, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o755)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(to, from)
	return copied, errors.Join(err, to.Close())
}

// listen passes on what the proxy reports, until the socket is closed.
func (g *gateway) listen() {
	defer close(g.listening)
	buffer := make([]byte, 16<<10)
	for {
		n, err := g.notify.Read(buffer)
		if err != nil {
			return
		}
		select {
		case g.reports <- string(buffer[:n]):
		default: // nobody waits for it any more
		}
	}
}

// lastWords is what up tells itself once a child has ended: whatever the child
// reported comes before it.
const lastWords = "X_LAST=1"

// waitReady waits until the proxy says that it, and every eager server, is ready.
func (g *gateway) waitReady(ctx context.Context) error {
	var ended error
	status := ""
	starting := g.watchStart()
	defer starting.stop()
	for {
		select {
		case report := <-g.reports:
			for line := range strings.Lines(report) {
				line = strings.TrimSpace(line)
				text, isStatus := strings.CutPrefix(line, "STATUS=")
				switch {
				case isStatus:
					status = printable(text)
				case line == "READY=1":
					return ended
				case line == lastWords && ended != nil && status != "":
					return errors.New(status)
				case line == lastWords && ended != nil:
					return ended
				}
			}
		case e := <-g.ends:
			ended = fmt.Errorf("not ready: %w", e.error())
			if err := g.sayLastWords(); err != nil {
				return errors.Join(ended, err)
			}
		case <-starting.ticks:
			starting.say(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// printable keeps what another process reports from steering a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}

func (g *gateway) sayLastWords() error {
	conn, err := net.Dial("unixgram", g.notify.LocalAddr().String())
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte(lastWords))
	return errors.Join(err, conn.Close())
}

// stop ends the proxy, which ends its servers, and then the daemon, and waits for
// both.
func (g *gateway) stop() error {
	var errs []error
	for _, cmd := range []*exec.Cmd{g.proxy, g.daemon} {
		if cmd != nil {
			errs = append(errs, g.end(cmd))
		}
	}
	return errors.Join(errs...)
}

func (g *gateway) end(cmd *exec.Cmd) error {
	name := filepath.Base(cmd.Args[3])
	if err := cmd.Process.Signal(unix.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	var killed error
	timeout := time.After(stopTimeout)
	for {
		select {
		case e := <-g.ends:
			if e.cmd == cmd {
				return killed
			}
		case <-timeout:
			if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return fmt.Errorf("stop %s: %w", name, err)
			}
			killed = fmt.Errorf("stop %s: it did not end within %s and was killed", name, stopTimeout)
		}
	}
}

// cleanUp removes what prepare made.
func (g *gateway) cleanUp() error {
	var errs []error
	g.clients.close()
	if g.proxyState != nil {
		g.proxyState.Close()
	}
	if g.control != nil {
		g.control.Close() // if it is closed it stays so
	}
	if g.notify != nil {
		g.notify.Close()
		<-g.listening
	}
	if g.key != "" {
		errs = append(errs, revokeKey(keyFile(g.state), g.key))
	}
	for _, link := range g.links {
		errs = append(errs, os.Remove(link))
	}
	if g.dir != "" {
		errs = append(errs, os.RemoveAll(g.dir))
	}
	if g.lock != nil {
		g.lock.Close()
	}
	return errors.Join(errs...)
}
