package conformance_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// Why a check is missed that passes without the gateway, or with a server of the
// client's own era.
const (
	noKey     = "a request of the handshake era has an id, and no key that the server chose: the gateway's keys are others"
	oneRound  = "the Go SDK asks a client of the handshake era once a call, and its second question is lost in the SDK"
	ownAsk    = "the tool sends a request of its own to the client, which a server of the stateless era can't: the Go SDK makes an error of it"
	noTool    = "the server does not have the tool, resource or prompt that the check uses"
	noDataURI = "the server's error names no URI"
)

// crossings are servers of one era before clients of the other. What a crossing
// misses is listed by scenario, or by scenario and check.
var crossings = []struct {
	server, name, revision string
	baseline               string // who passes directly what is to pass here
	missed                 map[string]string
	leftOut                []check // which depend on how fast the host is
}{
	{"handshake", "Go SDK, handshake era only", "2026-07-28", "everything-server", map[string]string{
		"input-required-result-basic-elicitation":   noKey,
		"input-required-result-ignore-extra-params": noKey,
		"input-required-result-multi-round":         oneRound,
	}, nil},
	{"stateless", "Go SDK, stateless era only", "2025-11-25", "everything-server", map[string]string{
		"elicitation-sep1034-defaults": ownAsk,
		"elicitation-sep1330-enums":    ownAsk,
		"tools-call-elicitation":       ownAsk,
		"tools-call-sampling":          ownAsk,
	}, nil},
	{"npm", "server-everything of npm, handshake era only", "2025-11-25", "server-everything", map[string]string{}, nil},
	{"npm", "server-everything of npm, handshake era only", "2026-07-28", "everything-server", map[string]string{
		"completion-complete":                                                          noTool,
		"http-custom-header-server-validation":                                         noTool,
		"input-required-result-basic-elicitation":                                      noTool,
		"input-required-result-basic-list-roots":                                       noTool,
		"input-required-result-basic-sampling":                                         noTool,
		"input-required-result-capability-check":                                       noTool,
		"input-required-result-missing-input-response":                                 noTool,
		"input-required-result-multi-round":                                            noTool,
		"input-required-result-multiple-input-requests":                                noTool,
		"input-required-result-non-tool-request":                                       noTool,
		"input-required-result-request-state":                                          noTool,
		"input-required-result-result-type":                                            noTool,
		"input-required-result-tampered-state":                                         noTool,
		"json-schema-2020-12":                                                          noTool,
		"prompts-get-embedded-resource":                                                noTool,
		"prompts-get-simple":                                                           noTool,
		"prompts-get-with-args":                                                        noTool,
		"prompts-get-with-image":                                                       noTool,
		"resources-read-binary":                                                        noTool,
		"resources-read-text":                                                          noTool,
		"resources-templates-read":                                                     noTool,
		"sep-2164-resource-not-found: sep-2164-data-uri":                               noDataURI,
		"server-stateless: sep-2575-missing-capability-http-400":                       noTool,
		"server-stateless: sep-2575-server-rejects-undeclared-capability":              noTool,
		"server-stateless: sep-2575-server-sends-prompts-list-changed-on-subscription": noTool,
		"server-stateless: sep-2575-server-sends-tools-list-changed-on-subscription":   noTool,
		"tools-call-audio":                                                             noTool,
		"tools-call-embedded-resource":                                                 noTool,
		"tools-call-image":                                                             noTool,
		"tools-call-mixed-content":                                                     noTool,
		"tools-call-with-progress":                                                     noTool,
	}, []check{
		// It waits 600 ms, and is the first caller with its capabilities, for whom
		// Node has to start.
		{"server-stateless", "sep-2575-http-server-no-independent-requests-on-stream"},
	}},
}

// TestCrossings has the suite, as a client of one era, check servers of the other.
// It misses what is listed above and nothing else, and docs/conformance.md says
// the same.
func TestCrossings(t *testing.T) {
	document, err := os.ReadFile("../../docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	gateway := start(t,
		entry("handshake", "/srv/programs/oneera", "handshake", "/srv/programs/everything-server"),
		entry("stateless", "/srv/programs/oneera", "stateless", "/srv/programs/everything-server"),
		entry("npm", "/srv/npm/"+nodePath, "/srv/npm/"+everythingPath))
	for _, c := range crossings {
		t.Run(c.server+"/"+c.revision, func(t *testing.T) {
			direct := runSuite(t, baseline(t, c.baseline, c.revision), c.revision)
			behind := runSuite(t, gateway+"/servers/"+c.server+"/mcp", c.revision)
			for _, name := range c.leftOut {
				delete(direct.passed, name)
			}
			passed, seen := direct.total(), map[string]bool{}
			for _, lost := range behind.lost(direct) {
				passed -= lost.times
				t.Logf("missed: %s: %s", lost, behind.failed[lost.check])
				if _, listed := c.missed[lost.String()]; listed {
					seen[lost.String()] = true
				} else if _, listed := c.missed[lost.scenario]; listed {
					seen[lost.scenario] = true
				} else {
					t.Errorf("lost behind the gateway: %s: %s", lost, behind.failed[lost.check])
				}
			}
			for name, reason := range c.missed {
				if !seen[name] {
					t.Errorf("%s is listed as missed, and passes", name)
				}
				if !strings.Contains(string(document), reason) {
					t.Errorf("docs/conformance.md does not say: %s", reason)
				}
			}
			if row := fmt.Sprintf("| %s | %s | %d of %d |", c.name, c.revision, passed, direct.total()); !strings.Contains(string(document), row) {
				t.Errorf("docs/conformance.md has no row %s", row)
			}
		})
	}
}

// baseline runs a server that the suite speaks with directly.
func baseline(t *testing.T, server, revision string) (address string) {
	t.Helper()
	if server == "server-everything" {
		return serveNPM(t)
	}
	for _, r := range revisions {
		if r.name == revision {
			return serve(t, r.flag)
		}
	}
	t.Fatalf("the suite has no requirements for %s", revision)
	return ""
}
