package provider

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os/exec"
	"os/user"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/runtime/document"
)

const (
	// pipesWait is how long a helper's pipes may stay open after its end.
	pipesWait = time.Second
	// maxShown is how much of a helper's standard error is shown, in bytes.
	maxShown = 300
	// shortestHidden is the shortest secret that is taken out of it.
	shortestHidden = 4
)

// errTooMuch ends a helper that says more than a secret can be.
var errTooMuch = fmt.Errorf("gave more than %d bytes", document.MaxSecret)

// run asks a helper and returns what it answers. The helper has no privilege, of the
// environment and the descriptors of this process nothing, and a bounded time; what
// it started ends with it, and it ends with this process.
func (p *Provider) run(name string, h Helper, path string) ([]byte, error) {
	account, err := p.account(h.User)
	if err == nil {
		err = document.CheckProgram(h.Command)
	}
	if err != nil {
		return nil, fmt.Errorf("run helper %q: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), h.Timeout)
	defer cancel()
	answer := bounded{max: document.MaxSecret + 1, over: cancel}
	said := bounded{max: 2 * document.MaxSecret, over: func() {}}
	//nolint:gosec // G204: root names the program, and it was checked that nobody else can change it
	cmd := exec.CommandContext(ctx, h.Command, slices.Concat(h.Args, []string{path})...)
	cmd.Env, cmd.Dir = h.environment(), "/"
	cmd.Stdout, cmd.Stderr = &answer, &said
	cmd.WaitDelay = pipesWait
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: account, Setsid: true, Pdeathsig: unix.SIGKILL}

	ended := make(chan error)
	go func() { ended <- runUnprivileged(cmd, h.Timeout) }()
	err = <-ended
	switch {
	case answer.cut:
		err = errTooMuch
	case ctx.Err() != nil:
		err = fmt.Errorf("did not end within %s, its timeout", h.Timeout)
	}
	text := said.shown(h.secrets(answer.kept))
	if err != nil {
		clear(answer.kept)
		if text != "" {
			err = fmt.Errorf("%w: it says %s", err, text)
		}
		return nil, fmt.Errorf("helper %q: %w", name, err)
	}
	if text != "" {
		slog.Warn("helper wrote to its standard error", "helper", name, "text", text)
	}
	return answer.kept, nil
}

// runUnprivileged runs a command to its end. The thread it starts from can never gain
// privileges again, nor can what is started from it, and it ends with this function's
// goroutine; not before, because the command ends with it.
func runUnprivileged(cmd *exec.Cmd, timeout time.Duration) error {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("take privileges away: %w", err)
	}
	// Go opens all files so; what came from elsewhere is closed for the helper, too.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close descriptors: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	pid := cmd.Process.Pid
	defer func() { _ = unix.Kill(-pid, unix.SIGKILL) }() // what it left behind
	for resource, most := range map[int]uint64{
		unix.RLIMIT_CPU: uint64(timeout/time.Second) + 1, unix.RLIMIT_FSIZE: 1 << 20, unix.RLIMIT_NOFILE: 256, unix.RLIMIT_DATA: 1 << 30,
	} {
		// A second line behind the time-out, where the host lets root do it.
		_ = unix.Prlimit(pid, resource, &unix.Rlimit{Cur: most, Max: most}, nil)
	}
	return cmd.Wait()
}

// account is whom a helper runs as: not root, and not who could read its environment
// in /proc, and is not to know what is in it.
func (p *Provider) account(name string) (*syscall.Credential, error) {
	candidates := []string{"mcp-gateway-secrets", "nobody"}
	if name != "" {
		candidates = []string{name}
	}
	for _, candidate := range candidates {
		found, err := user.Lookup(candidate)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(found.Uid, 10, 31)
		gid, gidErr := strconv.ParseUint(found.Gid, 10, 31)
		switch {
		case uidErr != nil || gidErr != nil:
			return nil, fmt.Errorf("user %q: %w", candidate, errors.Join(uidErr, gidErr))
		case uid == 0 || gid == 0:
			return nil, fmt.Errorf("user %q is root, or in its group: name an unprivileged user of its own", candidate)
		case int(uid) == p.NotAs:
			return nil, fmt.Errorf("user %q is the proxy's, which is to know no secret: make a user for helpers (useradd --system mcp-gateway-secrets)", candidate)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, fmt.Errorf("this host has no user %q: make one (useradd --system mcp-gateway-secrets)", candidates)
}

func (h Helper) environment() []string {
	list := []string{"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "HOME=/"}
	for _, name := range slices.Sorted(maps.Keys(h.Env)) {
		list = append(list, name+"="+h.Env[name].Reveal())
	}
	return list
}

// secrets are what a helper knows.
func (h Helper) secrets(answer []byte) []string {
	list := []string{string(bytes.TrimSpace(answer))}
	for _, value := range h.Env {
		list = append(list, append(value.Fetched(), value.Reveal())...)
	}
	return list
}

// bounded keeps what is written to it, until it is too much.
type bounded struct {
	kept []byte
	max  int
	cut  bool
	over func()
}

func (b *bounded) Write(data []byte) (int, error) {
	room := b.max - len(b.kept)
	b.kept = append(b.kept, data[:min(room, len(data))]...)
	if len(data) > room {
		b.cut = true
		b.over()
	}
	return len(data), nil
}

// shown is what a log may have of it: quoted, cut, and without secrets.
func (b *bounded) shown(secrets []string) string {
	text := string(b.kept)
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	for _, s := range secrets {
		if len(s) >= shortestHidden {
			text = strings.ReplaceAll(text, s, "[hidden]")
		}
	}
	if b.cut { // it may end within a secret
		text = text[:max(0, len(text)-document.MaxSecret)]
	}
	if text = strings.TrimSpace(text); text == "" {
		return ""
	}
	if len(text) > maxShown {
		text = text[:maxShown] + "…"
	}
	return strconv.Quote(text)
}
