// Package control is the protocol between the daemon and its peers: one JSON
// message per SOCK_SEQPACKET packet, descriptors by SCM_RIGHTS, the peer's role
// by SO_PEERCRED. Requests name things from the configuration; they carry no
// path, argv, uid, mount or flag.
//
// Runs in: daemon, proxy, CLI.
package control

import (
	"errors"
	"os"
	"time"
)

// Version is the protocol's version; both sides of a hello must agree on it.
const Version = 1

// MaxMessage is the longest packet in bytes. A longer one ends the connection.
const MaxMessage = 64 << 10

// maxDescriptors is the most descriptors that one packet may carry: a server's
// streams, and what it may reach of the network.
const maxDescriptors = 8

// MaxTrace is the longest correlation id in bytes.
const MaxTrace = 64

// Kind names a message.
//
//	request              sent by        answered with   descriptors of the answer
//	hello{version}       proxy, admin   hello           –
//	open{server,         proxy          opened{network, stdio (1 socket or 2 pipe ends), stderr; then as
//	  revision, trace}                    revision}     many as network says, from the sandbox's network
//	                                                    namespace: dns over udp, dns over tcp, tcp listener
//	stop{sandbox}        proxy, admin   done            –
//	freeze{sandbox}      proxy, admin   done            –
//	thaw{sandbox}        proxy, admin   done            –
//	reclaim{sandbox,     proxy, admin   done            –
//	  bytes}
//	list{}               proxy, admin   list            sealed memfd with a []Sandbox as JSON
//	reload{}             admin          done            –
//	checkpoint{head}     proxy          signed{head}    –
//	rotate{head}         proxy          rotated{log}    the audit log's next file, for appending
//	applied{generation}  proxy          –               –
//	refused{generation}  proxy          –               –
//
//	notice               sent to        when            descriptors
//	policy{generation,   proxy          hello, reload   sealed memfd with the policy.Policy as JSON; with
//	  log}                                              log, the audit log's file, for appending
//	exited{exit}         proxy          a sandbox it opened ended
//	reloaded{generation, proxy          a reload has ended: the generation in force, and a code if the
//	  code}                               new configuration was refused
//	recorded{text}       proxy          the daemon wrote a line into its own audit log, and the policy
//	                                    has records sent elsewhere, too
//	error{code, text}    proxy          another proxy has taken its place: the last that it hears
//
// Any request may be answered with error{code, text} instead. A request that is
// not in this table, or not for this peer, ends the connection.
type Kind string

// The kinds of the table above.
const (
	KindHello   Kind = "hello"
	KindOpen    Kind = "open"
	KindOpened  Kind = "opened"
	KindStop    Kind = "stop"
	KindFreeze  Kind = "freeze"
	KindThaw    Kind = "thaw"
	KindReclaim Kind = "reclaim"
	KindList    Kind = "list"
	KindReload  Kind = "reload"
	KindDone    Kind = "done"
	KindError   Kind = "error"
	KindPolicy  Kind = "policy"
	KindApplied Kind = "applied"
	KindRefused Kind = "refused"
	KindExited  Kind = "exited"

	KindReloaded Kind = "reloaded"
	KindRecorded Kind = "recorded"

	KindCheckpoint Kind = "checkpoint"
	KindSigned     Kind = "signed"
	KindRotate     Kind = "rotate"
	KindRotated    Kind = "rotated"
)

// Message is one packet. ID numbers a request; its answer repeats it, and a
// notice has none.
type Message struct {
	Kind       Kind   `json:"kind"`
	Version    int    `json:"version,omitempty"`
	ID         uint64 `json:"id,omitempty"`
	Generation uint64 `json:"generation,omitempty"`
	Server     string `json:"server,omitempty"`
	Sandbox    string `json:"sandbox,omitempty"`
	Revision   string `json:"revision,omitempty"` // wanted, and got: while a reload is under way there are two
	Trace      string `json:"trace,omitempty"`    // the id of the client's request that a sandbox is for: letters, digits and "-", at most MaxTrace
	Network    int    `json:"network,omitempty"`  // how many of the descriptors, the last ones, are the network's
	Bytes      int64  `json:"bytes,omitempty"`    // of memory; 0: all that can be had
	Code       Code   `json:"code,omitempty"`
	Text       string `json:"text,omitempty"`
	Exit       *Exit  `json:"exit,omitempty"`
	Head       *Head  `json:"head,omitempty"`
	Log        *Log   `json:"log,omitempty"`
}

// Code classifies an error for a peer that must branch on it; the text is for
// people.
type Code string

// The codes an answer may carry.
const (
	CodeUnknownServer Code = "unknown-server" // no enabled server has that name
	CodeUnknown       Code = "unknown-sandbox"
	CodeLimit         Code = "limit"   // a quota is used up; later may work
	CodeStart         Code = "start"   // the server could not be started; the text says why
	CodeRefused       Code = "refused" // the kernel did not do it; the text says why
	CodeReload        Code = "reload"  // the new configuration is not valid; the old one stays
	CodeVersion       Code = "version" // the peers speak different versions
	CodeReplaced      Code = "replaced"
)

// ErrClosed is the error of every call after the connection has ended.
var ErrClosed = errors.New("the connection to the daemon has ended")

// Error is an answer of kind error.
type Error struct {
	Code Code
	Text string
}

func (e *Error) Error() string { return e.Text }

// Opened is a started server: its descriptors belong to the receiver.
type Opened struct {
	Sandbox  string
	Revision string   // of what it was started from, a policy.Server's
	Stdin    *os.File // write end
	Stdout   *os.File // read end
	Stderr   *os.File // read end
	// Network is dns over udp, dns over tcp, and listeners of tcp, all of them in
	// the sandbox's network namespace; empty for a server without network.
	Network []*os.File
	// Over is closed when the connection has ended that it came by, and the server with
	// it; nil: nobody tells.
	Over <-chan struct{}
}

// Close closes every descriptor.
func (o Opened) Close() {
	for _, f := range append([]*os.File{o.Stdin, o.Stdout, o.Stderr}, o.Network...) {
		f.Close()
	}
}

// Exit says how a sandbox ended.
type Exit struct {
	Sandbox     string        `json:"sandbox"`
	Server      string        `json:"server"`
	Status      int           `json:"status"`                 // exit status; 128+n: ended by signal n
	Signal      int           `json:"signal,omitempty"`       // that ended it
	OOM         bool          `json:"oom,omitempty"`          // ended for memory
	MemoryLimit int64         `json:"memory_limit,omitempty"` // bytes, that OOM was at; 0: the host was out of memory
	Project     string        `json:"project,omitempty"`      // whose memory limit that is, if not its own
	TimeLimit   time.Duration `json:"time_limit,omitempty"`   // ended for running so long
	CPULimit    time.Duration `json:"cpu_limit,omitempty"`    // of a process's CPU time, that SIGXCPU was for
	FileLimit   int64         `json:"file_limit,omitempty"`   // bytes of a file, that SIGXFSZ was for
	PIDLimit    int64         `json:"pid_limit,omitempty"`    // was refused more processes and threads than so many
	Stopped     bool          `json:"stopped,omitempty"`      // ended because it was told to
	Lived       time.Duration `json:"lived"`
	Usage       Usage         `json:"usage"` // in all
}

// Usage is what a sandbox has used since its start, or uses now, by the kernel's
// count (cgroups(7)). What the host does not tell is zero.
type Usage struct {
	CPU              time.Duration `json:"cpu"`
	Throttled        time.Duration `json:"throttled,omitempty"`         // waited for its CPU limit
	Periods          uint64        `json:"periods,omitempty"`           // of the CPU limit, in which it wanted CPU
	ThrottledPeriods uint64        `json:"throttled_periods,omitempty"` // of those, in which it came to the limit
	Memory           int64         `json:"memory"`                      // bytes now
	MemoryPeak       int64         `json:"memory_peak,omitempty"`       // most bytes
	PIDs             int64         `json:"pids,omitempty"`              // processes and threads now
	StalledCPU       time.Duration `json:"stalled_cpu,omitempty"`       // some of it waited for CPU (PSI); cgroup v2 only
	StalledMemory    time.Duration `json:"stalled_memory,omitempty"`
	StalledIO        time.Duration `json:"stalled_io,omitempty"`
}

// Head is the last record of an audit log, or was at the time of its signature: a
// chain.Head. What a proxy asks to have signed is a sequence and a hash alone.
type Head struct {
	Chain     string    `json:"chain,omitempty"`
	Sequence  uint64    `json:"sequence"`
	Hash      string    `json:"hash"`
	Time      time.Time `json:"time,omitzero"`
	Signature string    `json:"signature,omitempty"`
}

// Log is a file of the audit log that the proxy writes, and where it goes on from.
type Log struct {
	Number uint64 `json:"number"`          // higher than that of any file that was handed over before
	Chain  string `json:"chain"`           // what the proxy's chain is called
	After  *Head  `json:"after,omitempty"` // signed last; nil: there is none
}

// Sandbox is one running sandbox in the document of an answer of kind list.
type Sandbox struct {
	ID      string    `json:"id"`
	Server  string    `json:"server"`
	Project string    `json:"project"`
	PID     int       `json:"pid"` // of its first process, in the host's numbering
	UID     int       `json:"uid"` // of its first process, on the host
	Started time.Time `json:"started"`
	Frozen  bool      `json:"frozen"`
	Usage   Usage     `json:"usage"`
	// What it may use at most, its project apart; zero: no limit.
	MemoryLimit int64   `json:"memory_limit,omitempty"` // bytes
	CPULimit    float64 `json:"cpu_limit,omitempty"`    // cores
	PIDLimit    int64   `json:"pid_limit,omitempty"`
}
