package config

import (
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"mcpgateway/policy"
	"mcpgateway/runtime/document"
)

// Audit is what is recorded of calls and decisions, and where.
type Audit struct {
	Enabled    bool             `config:"enabled"`
	File       string           `config:"file" want:"/"`                     // default "/var/log/mcp-gateway/audit.log"; the daemon's own records are beside it
	MaxSizeMB  int              `config:"max_size_mb" want:"1..1048576"`     // default 100
	MaxBackups int              `config:"max_backups" want:"0..1000000"`     // 0 (default): all
	MaxAgeDays int              `config:"max_age_days" want:"0..36500"`      // 0 (default): for ever
	OnFull     policy.OnFull    `config:"on_full" want:"block|drop"`         // "block" (default) or "drop"
	Sync       policy.AuditSync `config:"sync" want:"interval|always|never"` // "interval" (default), "always" or "never"
	Arguments  []AuditArguments `config:"arguments"`
	Redact     []string         `config:"redact"` // beside the built-in ones
	Journald   bool             `config:"journald"`
	Syslog     AuditSyslog      `config:"syslog"`
}

// AuditArguments are the tools of a server whose arguments are recorded.
type AuditArguments struct {
	Server string   `config:"server"`
	Tools  []string `config:"tools"` // none: all of them
}

// AuditSyslog is where records are sent, too.
type AuditSyslog struct {
	Address  string `config:"address"`                                                                                           // "unix:///dev/log", "udp://host:514", "tcp://host:601" or "tls://host:6514"; "" (default): nowhere
	Facility string `config:"facility" want:"auth|authpriv|daemon|local0|local1|local2|local3|local4|local5|local6|local7|user"` // default "authpriv"
	CAFile   string `config:"ca_file" want:"/"`                                                                                  // PEM; of tls, which needs it

	// Target is what the proxy is told, nil for nowhere. Not a key.
	Target *policy.Syslog
}

// audit judges the audit log's settings.
func (c *checker) audit() {
	a, p := &c.config.Audit, document.At("audit")
	for i, one := range a.Arguments {
		at := p.Key("arguments").Index(i)
		if !c.HasFailed(at) && !c.HasFailed(document.At("servers")) {
			c.OneOf(at.Key("server"), one.Server, slices.Sorted(maps.Keys(c.config.Servers)))
		}
	}
	for i, name := range a.Redact {
		if name == "" {
			c.Fail(p.Key("redact").Index(i), "is empty: name a member of arguments")
		}
	}
	if a.Syslog.Address != "" {
		c.syslog(p.Key("syslog"), &a.Syslog)
	}
}

func (c *checker) syslog(p document.Path, s *AuditSyslog) {
	at := p.Key("address")
	u, err := url.Parse(s.Address)
	if err != nil {
		c.Fail(at, `is %q, want unix:///dev/log, udp://host:514, tcp://host:601 or tls://host:6514`, s.Address)
		return
	}
	s.Target = &policy.Syslog{Network: u.Scheme, Address: u.Host, Facility: facilities()[s.Facility]}
	switch u.Scheme {
	case "unix":
		s.Target.Network, s.Target.Address = "unixgram", u.Path
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") {
			c.Fail(at, "is %q, want the path of a socket, as in unix:///dev/log", s.Address)
		}
	case "tls":
		s.Target.Network, s.Target.TLS = "tcp", true
		if s.CAFile == "" {
			c.Fail(p.Key("ca_file"), "is missing: with tls:// the server must prove itself by a certificate of one of these")
		}
		s.Target.RootCAs = c.pem(p.Key("ca_file"), s.CAFile, document.ReadFile)
	case "udp", "tcp":
	default:
		c.Fail(at, "is %q, want unix://, udp://, tcp:// or tls://", s.Address)
	}
	if s.CAFile != "" && u.Scheme != "tls" {
		c.Fail(p.Key("ca_file"), "has no meaning without tls:// in address")
	}
	host, port, err := net.SplitHostPort(u.Host)
	number, _ := strconv.ParseUint(port, 10, 16)
	if u.Scheme != "unix" && (err != nil || host == "" || number == 0 || u.Path != "" || u.User != nil || u.RawQuery != "") {
		c.Fail(at, "is %q, want host and port, as in udp://logs.example:514", s.Address)
	}
}

// facilities are the numbers of RFC 5424, section 6.2.1.
func facilities() map[string]int {
	known := map[string]int{"user": 1, "daemon": 3, "auth": 4, "authpriv": 10}
	for i := range 8 {
		known["local"+strconv.Itoa(i)] = 16 + i
	}
	return known
}

// redacted are the members of arguments that are never recorded.
func (a *Audit) redacted() []string {
	names := []string{
		"access_token", "api_key", "apikey", "authorization", "client_secret", "credential", "credentials", "passphrase", "passwd",
		"password", "private_key", "pwd", "refresh_token", "secret", "token",
	}
	for _, name := range a.Redact {
		names = append(names, strings.ToLower(name))
	}
	return names
}

// Rules are the proxy's half of the settings, nil if nothing is audited.
func (a *Audit) Rules(digestKey []byte) *policy.Audit {
	if !a.Enabled {
		return nil
	}
	rules := &policy.Audit{
		MaxSize: int64(a.MaxSizeMB) << 20, OnFull: a.OnFull, Sync: a.Sync, DigestKey: digestKey, Redact: a.redacted(),
		Journald: a.Journald, Syslog: a.Syslog.Target,
	}
	for _, one := range a.Arguments {
		rules.Arguments = append(rules.Arguments, policy.AuditTools(one))
	}
	return rules
}
