// Package backend is the connection to server processes: one Conn to one
// process, with its ids, its calls in flight and its end; and the Pool of all.
// A process speaks one era of MCP, and a Conn never mixes two.
// A server is hostile until proven otherwise: whatever it sends is bounded, and
// whatever it does ends with an answer to its callers. The package starts no
// process itself; it asks for one by name.
//
// Runs in: proxy.
package backend

import (
	"context"
	"errors"
	"os"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/redact"
	"mcpgateway/proxy/mcp"
	"mcpgateway/runtime/control"
)

// Opener starts and stops instances of servers, and halts them in between. A
// *peer.Client is one.
type Opener interface {
	// Open starts one from the configuration that has a revision, if there is one,
	// else from that in force. What it returns says which.
	Open(ctx context.Context, server, revision string) (control.Opened, error)
	Stop(ctx context.Context, sandbox string) error
	Freeze(ctx context.Context, sandbox string) error
	Thaw(ctx context.Context, sandbox string) error
	// Reclaim has the kernel take bytes of memory back from one; with zero, all that it
	// can do without.
	Reclaim(ctx context.Context, sandbox string, bytes int64) error
}

// Network serves the network of an instance, through descriptors that it takes
// over, until ctx ends. An error ends the instance.
type Network func(ctx context.Context, spec Spec, sandbox string, files []*os.File) error

// Spec is what a Conn must know of its server.
type Spec struct {
	Server          string
	Revision        string // of all that a sandbox of it is made of
	Project         string
	Gateway         string        // name under which the gateway itself initialises an instance
	Timeout         time.Duration // longest wait for an answer, or for the next progress, > 0
	MaxTimeout      time.Duration // longest wait for an answer, whatever the progress; Timeout if it is less
	IdleTimeout     time.Duration // an instance unused for so long is stopped, > 0
	FreezeAfter     time.Duration // an instance unused for so long is frozen; 0: never
	ReclaimAfter    time.Duration // one that is frozen and unused for so long gives memory back; 0: never
	MaxMessageBytes int           // longest line of the server, > 0
	// Tools are those with times of their own, by name.
	Tools  map[string]policy.Tool
	Shared bool // callers who know nothing of each other use one instance
	// Network is what the instance may reach, until its end; nil without the
	// gateway's help.
	Network *policy.Network
	// ToolsChanged is called when what the server lists as its tools may be another from
	// now on: there is a new instance, or one says so. It must not wait; nil: nobody
	// wants to know.
	ToolsChanged func()
	// Stderr is called with each line of an instance's standard error, cut, and without
	// its secrets. It must not wait, nor keep the line; nil: nobody wants it.
	Stderr func(sandbox string, line []byte)
	// Secrets recognises what of the instance's output nobody gets to see; nil: nothing.
	Secrets *redact.Matcher
	// StderrLines is how many lines a second are logged of the instance's standard error.
	StderrLines int
}

// waits is the longest wait for an answer to a request, or for the next progress, and
// the longest whatever the progress.
func (s *Spec) waits(request mcp.Message) (next, all time.Duration) {
	if len(s.Tools) > 0 && request.Method() == mcp.MethodToolsCall {
		name, _ := request.Text(request.Param("name"))
		if tool, ok := s.Tools[name]; ok {
			return tool.Timeout, max(tool.Timeout, tool.MaxTimeout)
		}
	}
	return s.Timeout, max(s.Timeout, s.MaxTimeout)
}

// Bounds of one instance.
const (
	maxCalls       = 256              // in flight at a time
	maxOutbox      = 1 << 20          // bytes waiting to be read by the server, beside the one message that is over it
	exitWait       = 2 * time.Second  // for the notice of an exit after the end of its output
	stopWait       = 10 * time.Second // for the daemon to stop a sandbox
	openWait       = 60 * time.Second // for the daemon to start one
	freezeWait     = 15 * time.Second // for the daemon to freeze or thaw one
	maxStarts      = 5                // of one instance, while there is a new configuration each time
	maxEarlyExits  = 256
	logLinesASec   = 20
	maxLoggedLine  = 512
	maxStderrTail  = 2 << 10
	maxServerError = 300 // bytes quoted of a server's own error text
)

var (
	errIdle     = errors.New("the instance was stopped because it was not used")
	errShutdown = errors.New("the gateway is shutting down")
	errSession  = errors.New("the session has ended")
	errGone     = errors.New("the configuration has it no more")
	errUnwanted = errors.New("the instance is not wanted any more")
)
