package sandbox

import (
	// Its C constructor joins the new namespaces in the re-executed process,
	// before the Go runtime starts its threads.
	_ "github.com/opencontainers/runc/libcontainer/nsenter"
)
