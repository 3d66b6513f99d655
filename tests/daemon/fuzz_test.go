package daemon_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"mcpgateway/tests/hostids"
)

// FuzzProtocol lets a captured proxy say anything, a packet per line. Whatever that
// was, the daemon answers an administrator afterwards and has ended every sandbox
// of that proxy.
func FuzzProtocol(f *testing.F) {
	const hello = `{"kind":"hello","version":1}` + "\n"
	for _, seed := range []string{
		"", "{}", hello, hello + hello, hello + `{"kind":"list","id":1}`, hello + `{"kind":"applied","generation":1}`,
		hello + `{"kind":"open","id":1,"server":"cat"}` + "\n" + `{"kind":"open","id":2,"server":"cat"}`,
		hello + `{"kind":"open","id":1,"server":"cat"}` + "\n" + `{"kind":"freeze","id":2,"sandbox":"cat-1"}` + "\n" + `{"kind":"stop","id":3,"sandbox":"cat-1"}`,
		hello + `{"kind":"open","id":1,"server":"../../etc/passwd"}`, hello + `{"kind":"reclaim","id":1,"sandbox":"cat-1","bytes":-1}`,
		hello + `{"kind":"refused","generation":1,"text":"no"}`, hello + `{"kind":"reload","id":1}`, hello + `{"kind":"policy"}`,
	} {
		f.Add([]byte(seed))
	}
	g := start(f, servers)
	admin := g.connect(f, 0)
	f.Fuzz(func(t *testing.T, packets []byte) {
		var conn *net.UnixConn
		var err error
		hostids.As(proxyUID, func() { conn, err = net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: g.socket, Net: "unixpacket"}) })
		if err != nil {
			t.Fatal(err)
		}
		drained := make(chan struct{})
		go func() { defer close(drained); _, _ = io.Copy(io.Discard, conn) }()
		_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
		for packet := range bytes.SplitSeq(packets, []byte("\n")) {
			if _, err := conn.Write(packet); err != nil && len(packet) > 0 {
				break // the daemon has ended the connection
			}
		}
		conn.Close()
		<-drained
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		for {
			list, err := admin.List(ctx)
			if err != nil {
				t.Fatalf("after %q the daemon does not answer: %v", packets, err)
			}
			if len(list) == 0 {
				return
			}
		}
	})
}
