package metrics

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"mcpgateway/policy"
	"mcpgateway/runtime/control"
)

// docs/metrics.md has every metric with its labels, and no other.
func TestDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `((?:mcp_gateway_|mcp_)[a-z_]+)` \\| [a-z, ]+ \\| ([a-z_`, –]*) \\| .+ \\|$").FindAllStringSubmatch(string(page), -1) {
		documented[row[1]] = strings.Trim(strings.ReplaceAll(strings.ReplaceAll(row[2], "`", ""), " ", ""), "–")
	}
	g := newGateway(t, rules())
	described := make(chan *prometheus.Desc)
	go func() {
		g.registry.Describe(described)
		close(described)
	}()
	parts := regexp.MustCompile(`fqName: "([a-z_]+)".*variableLabels: \{([a-z_,]*)\}`)
	for desc := range described {
		found := parts.FindStringSubmatch(desc.String())
		if found == nil || !strings.HasPrefix(found[1], "mcp_") { // Go's own
			continue
		}
		if labels, ok := documented[found[1]]; !ok || labels != found[2] {
			t.Errorf("%s has the labels %q, and docs/metrics.md says %q", found[1], found[2], labels)
		}
		delete(documented, found[1])
	}
	for name := range documented {
		t.Errorf("docs/metrics.md has %s, which there is not", name)
	}
}

// What Prometheus' own rules for metrics say.
func TestLint(t *testing.T) {
	t.Parallel()
	g := newGateway(t, aimed(policy.Objective{Availability: 99, Window: 1 << 50}))
	g.call(nil)
	g.Sample(g.reloads.at, []control.Sandbox{box("files-1", 1)})
	problems, err := testutil.GatherAndLint(g.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
