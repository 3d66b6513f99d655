package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"mcpgateway/policy"
	"mcpgateway/proxy/proxytest"
	"mcpgateway/runtime/control"
)

// testDaemon speaks the daemon's side of the control protocol; its servers are
// processes of proxytest, without a sandbox.
type testDaemon struct {
	t      *testing.T
	path   string
	opener *proxytest.Opener
	policy []byte
	served sync.WaitGroup
	silent atomic.Bool // it does not say what runs

	failing atomic.Bool  // it ends with the first request, as one does whose configuration is broken
	dials   atomic.Int64 // connections so far

	mu   sync.Mutex
	conn *control.Conn
}

func startDaemon(t *testing.T, p policy.Policy) *testDaemon {
	t.Helper()
	document, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	d := &testDaemon{t: t, path: filepath.Join(sharedDir(t), "control.sock"), opener: &proxytest.Opener{}, policy: document}
	d.opener.Exited = func(exit control.Exit) { d.send(control.Message{Kind: control.KindExited, Exit: &exit}) }
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: d.path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(d.path, 0o777); err != nil {
		t.Fatal(err)
	}
	d.served.Go(func() { d.serve(listener) })
	t.Cleanup(func() {
		listener.Close()
		d.hangUp()
		d.served.Wait()
		d.opener.Wait()
	})
	return d
}

// serve serves one connection after the other, as long as there is one.
func (d *testDaemon) serve(listener *net.UnixListener) {
	for {
		socket, err := listener.AcceptUnix()
		if err != nil {
			return
		}
		conn, err := control.NewConn(socket)
		if err != nil {
			d.t.Error(err)
			return
		}
		d.mu.Lock()
		d.conn = conn
		d.mu.Unlock()
		d.dials.Add(1)
		for {
			message, _, err := conn.Receive()
			if err != nil {
				break
			}
			if d.failing.Load() {
				conn.Close()
				break
			}
			d.handle(message)
		}
	}
}

func (d *testDaemon) handle(m control.Message) {
	switch m.Kind {
	case control.KindHello:
		d.send(control.Message{Kind: control.KindHello, Version: control.Version})
		d.sendPolicy(1)
	case control.KindList:
		if !d.silent.Load() {
			d.list(m)
		}
	case control.KindOpen:
		opened, err := d.opener.Open(context.Background(), m.Server, m.Revision)
		if err != nil {
			d.send(control.Message{Kind: control.KindError, ID: m.ID, Code: control.CodeStart, Text: err.Error()})
			return
		}
		d.send(control.Message{Kind: control.KindOpened, ID: m.ID, Sandbox: opened.Sandbox}, opened.Stdin, opened.Stdout, opened.Stderr)
		opened.Close()
	case control.KindStop:
		var refused *control.Error
		if err := d.opener.Stop(context.Background(), m.Sandbox); errors.As(err, &refused) {
			d.send(control.Message{Kind: control.KindError, ID: m.ID, Code: refused.Code, Text: refused.Text})
			return
		}
		d.send(control.Message{Kind: control.KindDone, ID: m.ID})
	}
}

func (d *testDaemon) list(m control.Message) {
	running, _ := d.opener.List(context.Background()) // it never fails
	document, err := json.Marshal(running)
	if err != nil {
		d.t.Error(err)
		return
	}
	file, err := control.NewSealed("list", document)
	if err != nil {
		d.t.Error(err)
		return
	}
	defer file.Close()
	d.send(control.Message{Kind: control.KindDone, ID: m.ID}, file)
}

func (d *testDaemon) sendPolicy(generation uint64) {
	file, err := control.NewSealed("policy", d.policy)
	if err != nil {
		d.t.Error(err)
		return
	}
	defer file.Close()
	d.send(control.Message{Kind: control.KindPolicy, Generation: generation}, file)
}

// send ignores a peer that has gone.
func (d *testDaemon) send(m control.Message, files ...*os.File) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conn.Send(m, files...)
}

// die is what a daemon does that is killed.
func (d *testDaemon) die() {
	d.hangUp()
	d.opener.Die()
}

// hangUp ends the control connection.
func (d *testDaemon) hangUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		d.conn.Close()
	}
}
