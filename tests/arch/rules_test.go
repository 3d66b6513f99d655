package arch

import (
	"slices"
	"strings"
	"testing"
)

// Each checker meets a planted violation here, and the nearest thing that is
// allowed. want holds one part of each problem, in order.
type planted struct {
	name  string
	files []sourceFile
	want  []string
}

func runPlanted(t *testing.T, check func([]sourceFile) []string, tests []planted) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			compare(t, check(tt.files), tt.want)
		})
	}
}

func compare(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d problems %q, want %d", len(got), got, len(want))
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("problem %d: got %q, want %q in it", i, got[i], want[i])
		}
	}
}

func importing(path string, imports ...string) sourceFile {
	return sourceFile{path: path, test: strings.HasSuffix(path, "_test.go"), imports: imports}
}

func TestCheckOrder(t *testing.T) {
	t.Parallel()
	layers := map[string]int{"low": 0, "low/other": 0, "high": 1}
	check := func(files []sourceFile) []string { return checkOrder(files, layers) }
	runPlanted(t, check, []planted{
		{name: "down", files: []sourceFile{importing("high/a.go", "mcpgateway/low", "net/http")}},
		{
			name:  "up",
			files: []sourceFile{importing("low/a.go", "mcpgateway/high")},
			want:  []string{"low/a.go (layer 0) imports high (layer 1)"},
		},
		{
			name:  "sideways",
			files: []sourceFile{importing("low/a.go", "mcpgateway/low/other")},
			want:  []string{"low/a.go (layer 0) imports low/other (layer 0)"},
		},
		{name: "test file up", files: []sourceFile{importing("low/a_test.go", "mcpgateway/high")}},
		{name: "not in the list", files: []sourceFile{importing("new/a.go")}, want: []string{"package new is in no layer"}},
		{name: "command", files: []sourceFile{importing("cmd/x/a.go", "mcpgateway/high", "mcpgateway/low")}},
		{name: "test", files: []sourceFile{importing("tests/x/a.go", "mcpgateway/high")}},
		{
			name:  "import of tests",
			files: []sourceFile{importing("low/a_test.go", "mcpgateway/tests/x"), importing("cmd/x/a.go", "mcpgateway/tests/x")},
			want:  []string{"low/a_test.go imports tests/x", "cmd/x/a.go imports tests/x"},
		},
	})
}

func TestCheckReserved(t *testing.T) {
	t.Parallel()
	check := func(files []sourceFile) []string { return checkReserved(files, reservations()) }
	runPlanted(t, check, []planted{
		{name: "sandbox", files: []sourceFile{importing("sandbox/a.go", "github.com/opencontainers/cgroups")}},
		{
			name:  "beside it",
			files: []sourceFile{importing("cmd/mcp-gatewayd/main.go", "github.com/opencontainers/cgroups")},
			want:  []string{"cmd/mcp-gatewayd/main.go imports github.com/opencontainers/cgroups: only sandbox"},
		},
		{
			name:  "cgroups, in a test",
			files: []sourceFile{importing("tests/x/a_test.go", "github.com/containerd/cgroups/v3")},
			want:  []string{"imports github.com/containerd/cgroups/v3"},
		},
		{name: "a longer name", files: []sourceFile{importing("proxy/a.go", "github.com/containerd/cgroupsish")}},
	})
}

func TestCheckInit(t *testing.T) {
	t.Parallel()
	runPlanted(t, checkInit, []planted{
		{name: "one", files: []sourceFile{{path: "proxy/a.go", inits: 1}}, want: []string{"proxy/a.go has a func init"}},
		{name: "in tests", files: []sourceFile{{path: "a/a_test.go", test: true, inits: 1}, {path: "tests/x/a.go", inits: 1}}},
		{name: "generated", files: []sourceFile{{path: "a/a.go", generated: true, inits: 1}}},
	})
}

func TestCheckComments(t *testing.T) {
	t.Parallel()
	runPlanted(t, checkComments, []planted{
		{name: "complete", files: []sourceFile{{path: "a/a.go", doc: "Package a is.\n\nRuns in: daemon.\n"}}},
		{name: "in another file", files: []sourceFile{{path: "a/a.go"}, {path: "a/b.go", doc: "Package a is.\n\nRuns in: CLI.\n"}}},
		{name: "missing", files: []sourceFile{{path: "a/a.go"}}, want: []string{"package a has no package comment"}},
		{name: "without process", files: []sourceFile{{path: "a/a.go", doc: "Package a is.\n"}}, want: []string{"no line \"Runs in:"}},
		{name: "process in passing", files: []sourceFile{{path: "a/a.go", doc: "Package a Runs in: x.\n"}}, want: []string{"no line \"Runs in:"}},
		{name: "command", files: []sourceFile{{path: "cmd/a/a.go", doc: "Command a is.\n"}}},
		{name: "command without", files: []sourceFile{{path: "cmd/a/a.go"}}, want: []string{"package cmd/a has no package comment"}},
		{name: "comment of a test file", files: []sourceFile{{path: "a/a.go"}, {path: "a/a_test.go", test: true, doc: "x\nRuns in: x\n"}}, want: []string{"package a has no package comment"}},
		{name: "tests and generated only", files: []sourceFile{{path: "a/a_test.go", test: true}, {path: "b/b.go", generated: true}}},
	})
}

func TestCheckPlaces(t *testing.T) {
	t.Parallel()
	runPlanted(t, checkPlaces, []planted{
		{name: "two folders", files: []sourceFile{importing("proxy/gate/a.go")}},
		{name: "three folders", files: []sourceFile{importing("proxy/gate/deep/a.go")}, want: []string{"proxy/gate/deep is 3 folders deep"}},
		{name: "three, generated", files: []sourceFile{{path: "proxy/front/pb/a.go", generated: true}}},
		{
			name:  "three, partly written",
			files: []sourceFile{{path: "proxy/front/pb/a.go", generated: true}, {path: "proxy/front/pb/b.go"}},
			want:  []string{"proxy/front/pb is 3 folders deep"},
		},
		{name: "four, generated", files: []sourceFile{{path: "a/b/c/d/a.go", generated: true}}, want: []string{"4 folders deep"}},
		{name: "empty name", files: []sourceFile{importing("proxy/util/a.go")}, want: []string{"proxy/util has a name that says nothing"}},
		{name: "runtime", files: []sourceFile{importing("runtime/a.go")}, want: []string{"folder runtime holds Go files"}},
		{name: "root", files: []sourceFile{importing("a.go")}, want: []string{"folder . holds Go files"}},
	})
}

func TestCheckColour(t *testing.T) {
	t.Parallel()
	both := colours()
	tests := []struct {
		name   string
		colour colour
		linked []linkedPackage
		want   []string
	}{
		{
			name:   "daemon, clean",
			colour: both[0],
			linked: []linkedPackage{{ImportPath: "net"}, {ImportPath: "os/exec"}, {ImportPath: "mcpgateway/policy"}, {ImportPath: "mcpgateway/proxyish"}},
		},
		{
			name:   "daemon, by a detour",
			colour: both[0],
			linked: []linkedPackage{
				{ImportPath: "net/http"},
				{ImportPath: "example.org/metrics", Imports: []string{"fmt", "net/http"}},
				{ImportPath: "mcpgateway/sandbox", Imports: []string{"example.org/metrics"}},
				{ImportPath: "mcpgateway/cmd/mcp-gatewayd", Imports: []string{"mcpgateway/sandbox"}},
			},
			want: []string{"cmd/mcp-gatewayd links net/http: mcpgateway/cmd/mcp-gatewayd → mcpgateway/sandbox → example.org/metrics → net/http"},
		},
		{
			name:   "daemon, all of it",
			colour: both[0],
			linked: []linkedPackage{
				{ImportPath: "net/http/httptrace"}, {ImportPath: "crypto/tls"}, {ImportPath: "google.golang.org/grpc/codes"},
				{ImportPath: "mcpgateway/proxy/mcp"}, {ImportPath: "mcpgateway/policy/authn"}, {ImportPath: "mcpgateway/images/unpack"},
			},
			want: []string{"net/http/httptrace", "crypto/tls", "google.golang.org/grpc/codes", "mcpgateway/proxy/mcp", "mcpgateway/policy/authn", "mcpgateway/images/unpack"},
		},
		{
			name:   "proxy, clean",
			colour: both[1],
			linked: []linkedPackage{{ImportPath: "net/http"}, {ImportPath: "runtime"}, {ImportPath: "mcpgateway/runtime/control"}},
		},
		{
			name:   "proxy, all of it",
			colour: both[1],
			linked: []linkedPackage{{ImportPath: "os/exec"}, {ImportPath: "mcpgateway/images"}, {ImportPath: "mcpgateway/sandbox"}, {ImportPath: "mcpgateway/runtime/config"}},
			want:   []string{"os/exec", "mcpgateway/images", "mcpgateway/sandbox", "mcpgateway/runtime/config"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			compare(t, checkColour(tt.colour, tt.linked), tt.want)
		})
	}
}

func TestCheckBudget(t *testing.T) {
	t.Parallel()
	lines := map[string]int{"a": 10, "b": 30}
	compare(t, checkBudget(lines, 40), nil)
	compare(t, checkBudget(lines, 39), []string{"has 40 lines, at most 39 are allowed: b 30, a 10"})
}

func TestCheckDependencies(t *testing.T) {
	t.Parallel()
	compare(t, checkDependencies([]string{"a", "b"}, []string{"a", "b"}), nil)
	compare(t, checkDependencies([]string{"a", "new"}, []string{"a", "old"}), []string{"newly links new", "no longer links old"})
}

func TestDependenciesLeaveStandardInsidesOut(t *testing.T) {
	t.Parallel()
	got := dependencies([]linkedPackage{
		{ImportPath: "os", Standard: true}, {ImportPath: "internal/abi", Standard: true}, {ImportPath: "crypto/internal/boring", Standard: true},
		{ImportPath: "vendor/golang.org/x/net/idna", Standard: true}, {ImportPath: "example.org/internal/x"},
	})
	if want := []string{"example.org/internal/x", "os"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
