package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/proxy/report"
	"mcpgateway/runtime/config"
	"mcpgateway/runtime/doctor"
	"mcpgateway/runtime/ports"
)

const (
	// subgroupVersion is the first systemd that knows DelegateSubgroup=.
	subgroupVersion = 254
	// examineWait is how long the doctor waits for an answer of a program or the daemon.
	examineWait = 3 * time.Second
)

// installation is what the doctor finds of the gateway itself.
type installation struct {
	config, state string
	read          *config.Config // nil: it does not load
	findings      []doctor.Finding
}

func (i *installation) find(state doctor.State, check, fix, format string, args ...any) {
	i.findings = append(i.findings, doctor.Finding{Topic: "gateway", Check: check, State: state, What: fmt.Sprintf(format, args...), Fix: fix})
}

func (i *installation) examine(ctx context.Context) []doctor.Finding {
	if self, err := os.Executable(); err == nil {
		i.binaries(filepath.Dir(self))
	}
	i.configuration()
	i.units(ctx)
	i.daemon(ctx)
	i.ports(ctx)
	i.clock()
	return i.findings
}

// binaries must be of one installation, where nobody but root can change them.
func (i *installation) binaries(dir string) {
	good := true
	for _, name := range []string{"mcp-gatewayd", "mcp-gateway-proxy", "mcp-gateway-launch"} {
		path := program(dir, name)
		info, err := os.Stat(path)
		switch {
		case err != nil:
			good = false
			i.find(doctor.Missing, name, "install all programs of one version", "is neither in "+dir+" nor in libexec: %v", err)
		case info.Mode()&0o111 == 0:
			good = false
			i.find(doctor.Missing, name, "chmod 755 "+path, "%s is not executable", path)
		case info.Sys().(*syscall.Stat_t).Uid != 0 || info.Mode()&0o022 != 0:
			good = false
			i.find(doctor.Warning, name, fmt.Sprintf("chown root: %s; chmod 755 %[1]s", path), "others than root can change %s, which root runs", path)
		}
	}
	if good {
		i.find(doctor.OK, "binaries", "", "all are there (%s), and root's", dir)
	}
}

// configuration is judged as check does, without looking secrets up.
func (i *installation) configuration() {
	c, err := judge(i.config, nil)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		i.find(doctor.Note, "configuration", "write one (docs/configuration.md), or name yours with --config", "there is none at %s", i.config)
	case errors.Is(err, fs.ErrPermission):
		i.find(doctor.Note, "configuration", "run doctor as root", "%s can't be read by this user", i.config)
	case err != nil:
		i.find(doctor.Missing, "configuration", "see mcp-gateway check "+i.config, "%v", err)
	case !c.Loads:
		i.find(doctor.Missing, "configuration", "mcp-gateway check "+i.config+" says all", "%d mistakes, such as %s: %s", len(c.Mistakes), c.Mistakes[0].Position, c.Mistakes[0].Text)
	default:
		i.read = c.config
		if len(c.Warnings) > 0 {
			i.find(doctor.Warning, "configuration", "mcp-gateway check "+i.config+" says all", "%s: %d servers, and %d warnings", i.config, len(c.Servers), len(c.Warnings))
			return
		}
		i.find(doctor.OK, "configuration", "", "%s: %d servers", i.config, len(c.Servers))
	}
}

// units looks whether systemd has the gateway's, where it runs.
func (i *installation) units(ctx context.Context) {
	if !exists("/run/systemd/system") {
		return
	}
	if version, text := systemdVersion(ctx); version > 0 && version < subgroupVersion {
		i.find(doctor.Note, "systemd's version", "nothing: the daemon makes that cgroup itself", "%s does not know DelegateSubgroup=", text)
	}
	for _, unit := range []string{"mcp-gatewayd.socket", "mcp-gateway-proxy.socket", "mcp-gateway-proxy-operator.socket"} {
		loaded, active := unitState(ctx, unit)
		switch {
		case loaded == "not-found":
			i.find(doctor.Note, unit, "install the units in systemd/ (README.md), or use mcp-gateway up", "is not installed")
		case active != "active":
			i.find(doctor.Warning, unit, "systemctl enable --now "+unit, "is %s", shown(active))
		default:
			i.find(doctor.OK, unit, "", "is active")
		}
	}
}

func systemdVersion(ctx context.Context) (version int, text string) {
	text, _, _ = strings.Cut(systemctl(ctx, "--version"), "\n")
	fields := strings.Fields(text)
	if len(fields) < 2 {
		return 0, ""
	}
	version, err := strconv.Atoi(strings.FieldsFunc(fields[1], func(r rune) bool { return r < '0' || r > '9' })[0])
	if err != nil {
		return 0, ""
	}
	return version, shown(text)
}

func unitState(ctx context.Context, unit string) (loaded, active string) {
	for line := range strings.Lines(systemctl(ctx, "show", "--property=LoadState,ActiveState", unit)) {
		line = strings.TrimSpace(line)
		if value, ok := strings.CutPrefix(line, "LoadState="); ok {
			loaded = value
		}
		if value, ok := strings.CutPrefix(line, "ActiveState="); ok {
			active = value
		}
	}
	return loaded, active
}

// systemctl is "" if it says nothing in time.
func systemctl(ctx context.Context, args ...string) string {
	ctx, cancel := context.WithTimeout(ctx, examineWait)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", args...).Output() //nolint:gosec // G204: the arguments are ours
	if err != nil {
		return ""
	}
	return string(out)
}

// daemon asks one that runs for its sandboxes.
func (i *installation) daemon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, examineWait)
	defer cancel()
	list, err := listSandboxes(ctx, i.state)
	switch {
	case err == nil:
		i.find(doctor.OK, "daemon", "", "answers: %d sandboxes run", len(list))
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED):
		i.find(doctor.Note, "daemon", "start it (systemctl start mcp-gatewayd, or mcp-gateway up), or name its --state", "does not run")
	case errors.Is(err, fs.ErrPermission):
		i.find(doctor.Note, "daemon", "run doctor as root", "can't be asked by this user")
	default:
		i.find(doctor.Warning, "daemon", "see its log (journalctl -u mcp-gatewayd)", "does not answer: %s", shown(err.Error()))
	}
}

// ports tries whether transports can listen where the configuration says. What the gateway
// itself has, it can.
func (i *installation) ports(ctx context.Context) {
	if i.read == nil {
		return
	}
	var running report.Status
	_ = askProxy(ctx, i.state, "/status", "", &running) // one that does not run has nothing
	remembered, err := ports.Load(portsOf(i.state))
	if err != nil {
		i.find(doctor.Warning, "assigned ports", "remove the file, and restart the gateway", "%v: they are not used", err)
	}
	rules := portRules(&i.read.Transports, remembered)
	rules.Own = func(h ports.Holder) bool {
		return slices.ContainsFunc(socketUnits(), func(u socketUnit) bool { return u.name == namedHolder(h).Unit }) ||
			slices.ContainsFunc(running.Listeners, func(l report.Listener) bool { return l.Address == h.Bound.String() })
	}
	listeners, err := rules.Open(wantedListeners(&i.read.Transports))
	ports.Close(listeners)
	switch {
	case err == nil:
		i.find(doctor.OK, "ports", "", "%d listeners can be where %s says", len(listeners), i.config)
	case os.Geteuid() != 0: // the gateway's own sockets are not to be seen
		i.find(doctor.Note, "ports", "run doctor as root", "some are taken, perhaps by the gateway: %v", err)
	default:
		for text := range strings.Lines(err.Error()) {
			i.find(doctor.Missing, "ports", "after a change of transports under systemd: "+restartSockets, "%s", strings.TrimSpace(text))
		}
	}
}

// clock asks the kernel whether something keeps it right: tokens and certificates are
// good at certain times.
func (i *installation) clock() {
	var t unix.Timex
	_, err := unix.Adjtimex(&t)
	switch {
	case time.Now().Year() < 2025:
		i.find(doctor.Warning, "clock", "set it: timedatectl set-ntp true", "says %s: tokens and certificates are judged by it", time.Now().UTC().Format(time.DateOnly))
	case err == nil && t.Status&unix.STA_UNSYNC != 0:
		i.find(doctor.Note, "clock", "timedatectl set-ntp true, unless the machine below keeps it", "nothing on this host keeps it right: tokens and certificates are judged by it")
	default:
		i.find(doctor.OK, "clock", "", "%s", time.Now().UTC().Format(time.RFC3339))
	}
}
