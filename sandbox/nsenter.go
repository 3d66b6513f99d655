package sandbox

// The import's C constructor joins the new namespaces in the re-executed
// process, before the Go runtime starts its threads.
import _ "github.com/opencontainers/runc/libcontainer/nsenter"
