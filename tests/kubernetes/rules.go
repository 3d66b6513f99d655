package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// prometheusRules makes objects of prometheus-operator of the rules of packaging/prometheus.
// kustomize reads no file outside of its folders, so that what is made here is a file there.
func prometheusRules(dir string) (string, error) {
	text := "# Made of packaging/prometheus by make kubernetes-rules. Change those.\n"
	for i, name := range []string{"recording", "alerts"} {
		content, err := os.ReadFile(filepath.Join(dir, name+".yaml"))
		if err != nil {
			return "", err
		}
		_, groups, ok := strings.Cut(string(content), "\ngroups:\n")
		if !ok {
			return "", fmt.Errorf("%s.yaml has no groups", name)
		}
		if i > 0 {
			text += "---\n"
		}
		text += fmt.Sprintf(`apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: mcp-gateway-%s
  namespace: mcp-system
  labels: {app.kubernetes.io/name: mcp-gateway}
spec:
  groups:
%s`, name, indent(groups))
	}
	return text, nil
}

func indent(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			line = "  " + line
		}
		out.WriteString(line)
	}
	return out.String()
}
