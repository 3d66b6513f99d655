package policy

import (
	"slices"
	"time"
)

// Audit is how the proxy keeps the audit log of calls and decisions. The file itself
// comes from the daemon, as a descriptor.
type Audit struct {
	MaxSize int64     `json:"max_size"` // bytes of a file, > 0: then the daemon is asked for another
	OnFull  OnFull    `json:"on_full"`
	Sync    AuditSync `json:"sync"`
	// DigestKey is what the digests of arguments are made with, so that who reads the
	// log can't try what short ones may be.
	DigestKey []byte       `json:"digest_key"`
	Arguments []AuditTools `json:"arguments,omitempty"` // whose arguments are written, too
	Redact    []string     `json:"redact,omitempty"`    // members of arguments that never are, in lower case
	Journald  bool         `json:"journald,omitempty"`
	Syslog    *Syslog      `json:"syslog,omitempty"`
}

// OnFull is what happens when the audit log can't be written.
type OnFull string

// The values of OnFull.
const (
	OnFullBlock OnFull = "block" // no audit, no call
	OnFullDrop  OnFull = "drop"  // calls go on; how many records were lost is written later
)

// AuditSync says when what was written is on the disk (fsync(2)).
type AuditSync string

// The values of AuditSync.
const (
	SyncInterval AuditSync = "interval" // every AuditSyncInterval
	SyncAlways   AuditSync = "always"   // after each write
	SyncNever    AuditSync = "never"    // when the kernel likes
)

// AuditSyncInterval is the interval of SyncInterval.
const AuditSyncInterval = time.Second

// AuditTools are tools of a server; without any, all of them.
type AuditTools struct {
	Server string   `json:"server"`
	Tools  []string `json:"tools,omitempty"`
}

// KeepsArguments reports whether the arguments of a tool are written to the log.
func (a *Audit) KeepsArguments(server, tool string) bool {
	return slices.ContainsFunc(a.Arguments, func(t AuditTools) bool {
		return t.Server == server && (len(t.Tools) == 0 || slices.Contains(t.Tools, tool))
	})
}

// Syslog is where records are sent as RFC 5424 says.
type Syslog struct {
	Network  string `json:"network"`            // "unixgram", "udp", "tcp"
	Address  string `json:"address"`            // a path, or host:port
	Facility int    `json:"facility"`           // 0 to 23
	TLS      bool   `json:"tls,omitempty"`      // of tcp
	RootCAs  []byte `json:"root_cas,omitempty"` // PEM; empty: the system's
}
