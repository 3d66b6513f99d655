package sandbox_test

import (
	"fmt"
	"os"
	"testing"

	"mcpgateway/sandbox"
)

// BenchmarkStart starts a sandbox, with a directory of its own, whose program ends
// at once, and waits until nothing of it is left.
func BenchmarkStart(b *testing.B) {
	s := spec(b, "/bin/true")
	dir := directory(b, owner)
	s.Mounts = append(s.Mounts, sandbox.Mount{Source: dir, Target: dir, Writable: true, UID: owner, GID: owner})
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	for i := range b.N {
		s.ID = fmt.Sprintf("bench-%d", i)
		box, err := sandboxes.Start(s, sandbox.Stdio{Stdin: null, Stdout: null, Stderr: null})
		if err != nil {
			b.Fatal(err)
		}
		<-box.Done()
	}
}
