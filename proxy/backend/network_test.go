package backend

import (
	"context"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"mcpgateway/policy"
)

// served is one call of a Network.
type served struct {
	ctx     context.Context
	spec    Spec
	sandbox string
	files   []*os.File
}

// withNetwork makes the servers of a pool have a network, which is served until
// its end.
func withNetwork(t *testing.T, result error) (*Pool, chan served) {
	t.Helper()
	pool, opener := newPool(t)
	opener.Network = func(server string) []*os.File {
		if server == "silent" {
			return nil
		}
		file, err := os.Open("/dev/null")
		if err != nil {
			t.Error(err)
		}
		return []*os.File{file}
	}
	calls := make(chan served, 1)
	pool.network = func(ctx context.Context, spec Spec, sandbox string, files []*os.File) error {
		for _, f := range files {
			f.Close()
		}
		calls <- served{ctx, spec, sandbox, files}
		if result == nil {
			<-ctx.Done()
		}
		return result
	}
	return pool, calls
}

// watched looks whether there is a network still when a sandbox has stopped.
type watched struct {
	Opener
	network context.Context
	then    error
}

func (w *watched) Stop(ctx context.Context, sandbox string) error {
	err := w.Opener.Stop(ctx, sandbox)
	w.then = w.network.Err()
	return err
}

// TestNetworkLivesAsLongAsItsInstance: from its start until its sandbox is gone.
func TestNetworkLivesAsLongAsItsInstance(t *testing.T) {
	pool, calls := withNetwork(t, nil)
	opener := &watched{Opener: pool.opener}
	pool.opener = opener
	want := spec("echo")
	want.Project, want.Network = "team", &policy.Network{MaxConnections: 1}
	conn, err := pool.Start(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	got := <-calls
	if !reflect.DeepEqual(got.spec, want) || got.sandbox != "echo-1" || len(got.files) != 1 {
		t.Errorf("got %+v", got)
	}
	opener.network = got.ctx
	call(t, conn, `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	if err := got.ctx.Err(); err != nil {
		t.Errorf("the network of a running instance ended: %v", err)
	}
	conn.Close()
	<-conn.Done()
	if opener.then != nil {
		t.Error("the network ended before the sandbox")
	}
	if got.ctx.Err() == nil {
		t.Error("the network of an instance that has ended is served")
	}
}

// TestInstanceEndsWithoutItsNetwork: one that should have a network and has none,
// or has one that nobody knows rules for.
func TestInstanceEndsWithoutItsNetwork(t *testing.T) {
	for name, tt := range map[string]struct {
		server  string
		network *policy.Network
	}{
		"rules without descriptors": {"silent", &policy.Network{}},
		"descriptors without rules": {"echo", nil},
	} {
		t.Run(name, func(t *testing.T) {
			pool, _ := withNetwork(t, errors.New("no network"))
			spec := spec(tt.server)
			spec.Network = tt.network
			conn, err := pool.Start(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			<-conn.Done()
			if err := conn.Err(); err == nil || !strings.Contains(err.Error(), `was stopped: no network`) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestNoNetwork: a server without network needs nobody to serve it.
func TestNoNetwork(t *testing.T) {
	pool, calls := withNetwork(t, errors.New("no network"))
	conn, err := pool.Start(t.Context(), spec("silent"))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	<-conn.Done()
	if len(calls) != 0 {
		t.Errorf("got %+v", <-calls)
	}
}
