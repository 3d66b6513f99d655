package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/chain"
	"mcpgateway/runtime/config"
	"mcpgateway/runtime/control"
	"mcpgateway/runtime/logbook"
)

// The events of the daemon's own audit log.
const (
	eventApplied        = "configuration-applied"
	eventNotApplied     = "configuration-refused"
	eventStarted        = "sandbox-started"
	eventEnded          = "sandbox-ended"
	eventSandboxRefused = "sandbox-refused"
	eventProxy          = "proxy-connected"
	eventAdmin          = "administrator"
	eventPeerRefused    = "peer-refused"
	eventRequestRefused = "request-refused"
)

// settings are what the logbook must know of a configuration.
func settings(cfg *config.Config) logbook.Settings {
	a := cfg.Audit
	if !a.Enabled {
		return logbook.Settings{}
	}
	const day = 24 * time.Hour
	return logbook.Settings{
		File: a.File, MaxSize: int64(a.MaxSizeMB) << 20, MaxBackups: a.MaxBackups, MaxAge: time.Duration(a.MaxAgeDays) * day,
		Block: a.OnFull == policy.OnFullBlock,
	}
}

// auditRules are the proxy's half of them.
func auditRules(cfg *config.Config, state string) (*policy.Audit, error) {
	if !cfg.Audit.Enabled {
		return nil, nil
	}
	key, err := logbook.DigestKey(state)
	if err != nil {
		return nil, err
	}
	return cfg.Audit.Rules(key), nil
}

// recordReload says what became of a generation.
func (d *Daemon) recordReload(number uint64, err error) {
	if err != nil {
		d.book.Record(eventNotApplied, "generation", number, "reason", cut(err.Error()))
		return
	}
	d.book.Record(eventApplied, "generation", number)
}

// recordAct says what an administrator did, and whether it could be done. Looking
// is no act.
func (m *monitor) recordAct(message control.Message, err error) {
	if m.role != roleAdmin || message.Kind == control.KindHello || message.Kind == control.KindList {
		return
	}
	pairs := []any{"act", message.Kind, "pid", m.conn.Peer.Pid, "uid", m.conn.Peer.Uid}
	if message.Sandbox != "" {
		pairs = append(pairs, "sandbox", fmt.Sprintf("%.128s", message.Sandbox))
	}
	if err != nil {
		pairs = append(pairs, "error", cut(err.Error()))
	}
	m.daemon.book.Record(eventAdmin, pairs...)
}

// auditLog opens the proxy's audit log for a generation, if it has one.
func (m *monitor) auditLog(g *generation) (*control.Log, []*os.File, error) {
	if !g.config.Audit.Enabled {
		return nil, nil, nil
	}
	handover, err := m.daemon.book.Handover(g.config.Audit.File)
	if err != nil {
		return nil, nil, err
	}
	return m.message(handover), []*os.File{handover.File}, nil
}

func (m *monitor) message(h logbook.Handover) *control.Log {
	return &control.Log{Number: h.Number, Chain: m.chain, After: (*control.Head)(h.After)}
}

func (m *monitor) answerCheckpoint(_ context.Context, message control.Message) (reply, error) {
	head, err := m.head(message)
	if err != nil {
		return reply{}, err
	}
	signed, err := m.daemon.book.Checkpoint(head)
	if err != nil {
		return reply{}, &control.Error{Code: control.CodeRefused, Text: err.Error()}
	}
	return reply{message: control.Message{Kind: control.KindSigned, Head: (*control.Head)(&signed)}}, nil
}

func (m *monitor) answerRotate(_ context.Context, message control.Message) (reply, error) {
	head, err := m.head(message)
	if err != nil {
		return reply{}, err
	}
	next, err := m.daemon.book.Rotate(head)
	if err != nil {
		return reply{}, &control.Error{Code: control.CodeRefused, Text: err.Error()}
	}
	return reply{message: control.Message{Kind: control.KindRotated, Log: m.message(next)}, files: []*os.File{next.File}}, nil
}

// head is what the proxy asks to have signed: a number and a hash of its own chain.
func (m *monitor) head(message control.Message) (chain.Head, error) {
	if message.Head == nil {
		return chain.Head{}, errors.New("a request about the audit log named no record")
	}
	return chain.Head{Chain: m.chain, Sequence: message.Head.Sequence, Hash: message.Head.Hash}, nil
}

// maxRecords bounds the daemon's own records that wait for a proxy to take them.
const maxRecords = 256

// pass sends a record of the daemon's own to the proxy, if that is to send records to
// the journal or to syslog: the daemon itself speaks no network protocol. Best effort:
// the log is the file.
func (d *Daemon) pass(line []byte) {
	now := d.current.Load()
	if now == nil || !now.config.Audit.Journald && now.config.Audit.Syslog.Address == "" {
		return
	}
	for _, m := range d.connected() {
		if m.role != roleProxy {
			continue
		}
		select {
		case m.records <- string(line):
		default:
		}
	}
}

// sendRecords passes records on until ctx ends.
func (m *monitor) sendRecords(ctx context.Context) {
	for {
		select {
		case line := <-m.records:
			if err := m.conn.Send(control.Message{Kind: control.KindRecorded, Text: line}); err != nil {
				return // the connection has ended
			}
		case <-ctx.Done():
			return
		}
	}
}
