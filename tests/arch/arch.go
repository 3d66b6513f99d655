// Package arch holds the architecture's rules as tables, and the checks that
// enforce them as functions over data: which package may import which, what each
// binary may link, and how much of the gateway's own code is privileged. It
// judges structure only; whether the code works is for other tests.
//
// Runs in: tests.
package arch

import "strings"

// module is the path of the module that the rules are about.
const module = "mcpgateway"

// layers lists every package of the module but commands and tests. A package
// imports packages of lower layers only; one that is not listed is an error.
func layers() map[string]int { //nolint:funlen // a table
	return map[string]int{
		"policy/redact": -1, // policy holds what it makes

		"images":           0,
		"policy":           0,
		"policy/chain":     0,
		"policy/journal":   0,
		"policy/trust":     0,
		"proxy/httpio":     0,
		"proxy/arrivals":   0,
		"proxy/mcp":        0,
		"proxy/socket":     0,
		"runtime/control":  0,
		"runtime/document": 0,
		"runtime/doctor":   0,
		"runtime/hostpath": 0,
		"runtime/release":  0,
		"runtime/secret":   0,
		"sandbox":          0,

		"images/unpack":    1,
		"policy/mirror":    1,
		"runtime/clients":  1,
		"policy/authn":     1,
		"policy/profile":   1,
		"policy/ratelimit": 1,
		"policy/verify":    1,
		"policy/rbac":      1,
		"policy/rules":     1,
		"proxy/certs":      1,
		"proxy/headers":    1,
		"proxy/http1":      1,
		"proxy/link":       1,
		"proxy/openapi":    1,
		"proxy/pins":       1,
		"proxy/screen":     1,
		"proxy/telemetry":  1,
		"proxy/ledger":     1,
		"proxy/ledgertest": 0,
		"proxy/quota":      1,
		"proxy/redactor":   1,
		"proxy/report":     1,
		"proxy/egress":     1,
		"runtime/keys":     1,
		"runtime/logbook":  1,
		"runtime/logs":     1,
		"runtime/peer":     1,
		"runtime/ports":    1,
		"runtime/provider": 1,

		"policy/authntest": 2,
		"policy/audit":     2,
		"policy/exposure":  2,
		"policy/view":      2,
		"proxy/backend":    2,
		"proxy/breaker":    2,
		"proxy/retry":      2,
		"proxy/tail":       2,
		"proxy/proxytest":  2,
		"proxy/recent":     2,
		"proxy/catalog":    2,
		"proxy/hub":        2,
		"proxy/resume":     2,
		"proxy/usage":      2,
		"proxy/tracing":    2,
		"runtime/config":   2,

		"proxy/bridge":    3,
		"proxy/health":    3,
		"runtime/daemon":  3,
		"runtime/inspect": 3,

		"proxy/fleet": 4,

		"proxy/gate":                5,
		"proxy/grpcfront/gatewaypb": 5,

		"proxy/grpcfront": 6,
		"proxy/metrics":   6,
		"proxy/operator":  6,
		"proxy/restfront": 6,
		"proxy/ssefront":  6,
		"proxy/wsfront":   6,

		"proxy/httpfront": 7,

		"proxy": 8,
	}
}

// colour says what a binary must not link. A name stands for its whole subtree.
type colour struct {
	binary       string
	tagsVariable string   // the Makefile variable with its build tags; "": none
	forbidden    []string // what it must not link
	except       []string // what it may link all the same
}

func colours() []colour {
	return []colour{
		{
			binary:       "cmd/mcp-gatewayd",
			tagsVariable: "DAEMON_TAGS",
			forbidden: []string{
				"net/http", "crypto/tls", "google.golang.org/grpc",
				module + "/proxy", module + "/policy/authn", module + "/policy/rbac", "cel.dev", module + "/images/unpack", module + "/runtime/inspect", "github.com/opencontainers/runc",
			},
		},
		{
			binary:    "cmd/mcp-gateway-proxy",
			forbidden: []string{"os/exec", module + "/images", module + "/sandbox", module + "/runtime"},
			except:    []string{module + "/runtime/control", module + "/runtime/peer", module + "/runtime/logs", module + "/runtime/release"},
		},
	}
}

// reserved is a part of the import space that few may import.
type reserved struct {
	prefix    string
	importers []string // packages, or single files
}

func reservations() []reserved {
	importers := []string{"sandbox", "tests/containers"} // which tells runtimes what to run
	return []reserved{
		{"github.com/opencontainers", importers},
		{"github.com/containerd/cgroups", importers},
	}
}

const (
	// privilegedLines bounds the gateway's own code that the daemon links:
	// lines of non-test files that hold code, so that comments stay free.
	privilegedLines = 11700

	// maxDepth is the most folders of a package's path.
	maxDepth = 2
)

// forbiddenNames say nothing about what a package is.
func forbiddenNames() []string {
	return []string{"base", "common", "helpers", "misc", "types", "util", "utils"}
}

// within reports whether path is root or lies below it.
func within(path, root string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}

// isCommand and isTest tell the two kinds of packages that have no layer.
func isCommand(path string) bool { return within(path, "cmd") }
func isTest(path string) bool    { return within(path, "tests") }
