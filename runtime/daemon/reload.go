package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"strings"
	"syscall"
	"time"

	"mcpgateway/runtime/control"
	"mcpgateway/runtime/document"
)

// maxReads is how often what changes while it is read is read again.
const maxReads = 5

// Reload reads the configuration anew and makes it the current one once the proxy has
// taken it; on an error the old one stays. A proxy that says nothing is cut off, and
// its servers with it: a revoked key must not stay in force. Sandboxes that are as the
// new one wants them go on; the proxy ends the others when their calls have.
func (d *Daemon) Reload() error {
	d.reloadMu.Lock()
	defer d.reloadMu.Unlock()
	return d.reloadLocked()
}

func (d *Daemon) reloadLocked() (err error) {
	old := d.current.Load()
	changed := true
	if d.options.Reloading != nil {
		ended := d.options.Reloading()
		defer func() { ended(err) }()
	}
	defer func() {
		if changed {
			d.recordReload(d.lastNumber, err)
		}
		d.tellReload(err)
	}()
	d.lastNumber++ // never used twice, so that a late verdict fits no other generation
	next, err := d.load()
	if err != nil {
		return err
	}
	if next.same(old) {
		slog.Debug("configuration read again: nothing has changed", "generation", old.number)
		changed = false
		return nil
	}
	if next.config.Sandbox.UIDPool != old.config.Sandbox.UIDPool {
		return errors.New("sandbox.uid_pool can't change while the daemon runs: restart it")
	}
	if !maps.Equal(next.config.Transports.Listeners(), old.config.Transports.Listeners()) {
		return errors.New("what transports listen on can't change while the gateway runs: start it anew (under systemd: systemctl daemon-reload && systemctl restart mcp-gateway-proxy.socket mcp-gatewayd)")
	}
	if err := d.supervisor.setProjects(next.config); err != nil {
		return errors.Join(err, d.supervisor.setProjects(old.config))
	}
	if err := d.book.Prepare(settings(next.config)); err != nil {
		return errors.Join(err, d.supervisor.setProjects(old.config))
	}
	d.offered.Store(next)
	defer d.offered.Store(nil)
	for _, m := range d.connected() {
		if err := m.offer(next); err != nil {
			return errors.Join(fmt.Errorf("the proxy did not take generation %d: %w", next.number, err), d.supervisor.setProjects(old.config))
		}
	}
	d.use(next)
	slog.Info("configuration loaded", "generation", next.number)
	return d.book.Use()
}

// tellReload tells proxies how a reload ended, for their metrics. Not why: the text may
// tell of paths.
func (d *Daemon) tellReload(err error) {
	notice := control.Message{Kind: control.KindReloaded, Generation: d.current.Load().number}
	if err != nil {
		notice.Code = control.CodeReload
	}
	for _, m := range d.connected() {
		if m.informed.Load() {
			if err := m.conn.Send(notice); err != nil {
				slog.Debug("tell of a reload", "peer", m.conn.Peer.Pid, "err", err)
			}
		}
	}
}

// load reads the configuration and notes what its files were. What changes while it is
// read is read again. reloadMu must be held.
func (d *Daemon) load() (g *generation, err error) {
	var warnings document.Errors
	for range maxReads {
		began := time.Now()
		before := look(d.files, began)
		known := d.files
		g, warnings, d.files, err = loadGeneration(d.lastNumber, d.options)
		d.loaded = look(d.files, began)
		if look(known, began) == before {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if current := d.current.Load(); current == nil || !g.same(current) {
		for _, w := range warnings {
			slog.Warn(w.Text, "position", w.Position)
		}
	}
	return g, nil
}

// starting is the generation that an instance is started from: the proxy may have
// taken one before the daemon has heard of it.
func (d *Daemon) starting(server, revision string) *generation {
	if next := d.offered.Load(); next != nil && next.revisions[server] == revision && revision != "" {
		return next
	}
	return d.current.Load()
}

// watch reloads when a change of the files has settled, and sees to the end of what
// is out of date, until ctx ends.
func (d *Daemon) watch(ctx context.Context) {
	tick := time.NewTicker(d.options.WatchEvery)
	defer tick.Stop()
	var seen, failure string
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		d.supervisor.retire(d.current.Load().revisions)
		d.restock(d.current.Load())
		if !d.current.Load().config.Gateway.Watch {
			continue
		}
		var err error
		if seen, err = d.reloadIfSettled(seen); err == nil {
			continue
		}
		if text := fmt.Sprint(d.current.Load().number, err); text != failure { // the same is told once
			failure = text
			slog.Error("the configuration's files have changed, and the old configuration stays in force", "err", err)
		}
	}
}

// reloadIfSettled reloads if the files are not what they were when they were read,
// but what they were when they were last seen. It returns what they are.
func (d *Daemon) reloadIfSettled(seen string) (now string, err error) {
	d.reloadMu.Lock()
	defer d.reloadMu.Unlock()
	now = look(d.files, time.Now().Add(d.options.WatchEvery))
	if now == d.loaded || now != seen {
		return now, nil
	}
	return now, d.reloadLocked()
}

// look says what is at the paths, so that it says another thing after any change, also
// of what links lead to. What was changed when it began to be read, or since, may have
// been read halfway, and says what look never says again.
func look(files []string, began time.Time) string {
	var all strings.Builder
	for _, path := range files {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(&all, "%q -\n", path)
			continue
		}
		if err != nil {
			fmt.Fprintf(&all, "%q %v\n", path, err)
			continue
		}
		st := info.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&all, "%q %d %d %d %d %d %t\n", path, st.Dev, st.Ino, st.Size, st.Mtim, st.Ctim, !time.Unix(st.Ctim.Unix()).Before(began.Add(-clockStep)))
	}
	return all.String()
}

// clockStep is how far the time of a change may be behind the clock: the kernel notes
// that of its last tick.
const clockStep = 20 * time.Millisecond
