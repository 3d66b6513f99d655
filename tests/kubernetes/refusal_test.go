package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestRefusals plants one mistake after the other into what is applied in production, and
// wants each to be refused for what it is.
func TestRefusals(t *testing.T) {
	t.Parallel()
	all := built(t, packaging+"/overlays/production") + "---\n" + built(t, packaging+"/argocd") + "---\n" +
		built(t, overlay(t, []string{"istio"})) // its objects again, and the mesh's
	if faults := judge([]byte(all)); faults != nil {
		t.Fatal(faults)
	}
	for _, c := range []struct{ name, old, planted, want string }{
		{"unknown field of a container", "readOnlyRootFilesystem:", "readOnlyRootFilesytem:", `unknown field "spec.template.spec.containers[0].securityContext.readOnlyRootFilesytem"`},
		{"unknown field of a pod", "enableServiceLinks:", "enableServicelinks:", "unknown field"},
		{"unknown field of a set", "podManagementPolicy:", "podManagement:", "unknown field"},
		{"unknown field of an autoscaler", "stabilizationWindowSeconds:", "stabilisationWindowSeconds:", "unknown field"},
		{"unknown field of a budget", "unhealthyPodEvictionPolicy:", "unhealthyPodEviction:", "unknown field"},
		{"unknown field of a network policy", "policyTypes:", "policyType:", "unknown field"},
		{"unknown field of a monitor", "scrapeTimeout:", "scrapetimeout:", "unknown field"},
		{"unknown field of an Application", "selfHeal:", "selfheal:", "unknown field"},
		{"unknown field of the mesh", "consistentHash:", "consistentHashing:", "unknown field"},
		{"unknown kind", "kind: PodDisruptionBudget", "kind: PodDisruptionBudge", "no kind"},
		{"unknown version", "apiVersion: autoscaling/v2\n", "apiVersion: autoscaling/v2beta9\n", "no kind"},
		{"unknown version of a custom kind", "apiVersion: monitoring.coreos.com/v1\n", "apiVersion: monitoring.coreos.com/v2\n", "is known"},
		{"unknown group", "apiVersion: apps/v1", "apiVersion: app/v1", "is known"},
		{"text for a bool", "automountServiceAccountToken: false", `automountServiceAccountToken: "false"`, "bool"},
		{"text for a number", "terminationGracePeriodSeconds: 45", `terminationGracePeriodSeconds: "45"`, "int64"},
		{"text for a list", "resources-finalizer.argocd.argoproj.io", "x: y", "finalizers"},
		{"number for a text", "averageValue: \"50\"", "averageValue: [50]", "quantities must match"},
		{"bad quantity", "memory: 16Gi", "memory: 16GiB", "quantities must match"},
		{"request above the limit", "memory: 16Gi", "memory: 1Gi", "must be less than or equal to memory limit"},
		{"enum of a container", "imagePullPolicy: IfNotPresent", "imagePullPolicy: IfNotThere", "Unsupported value"},
		{"enum of a set", "podManagementPolicy: Parallel", "podManagementPolicy: AllAtOnce", "must be 'OrderedReady' or 'Parallel'"},
		{"enum of a service", "sessionAffinity: ClientIP", "sessionAffinity: Client", "Unsupported value"},
		{"enum of a seccomp profile", "type: RuntimeDefault", "type: Default", "Unsupported value"},
		{"enum of an autoscaler", "type: Utilization", "type: Use", "must be either Utilization, Value, or AverageValue"},
		{"enum of a monitor", "path: /metrics\n    port: admin", "path: /metrics\n    port: admin\n    scheme: gopher", "Unsupported value"},
		{"enum of the mesh", "mode: STRICT", "mode: STERN", "Unsupported value"},
		{"enum of a port", "protocol: UDP", "protocol: QUIC", "Unsupported value"},
		{"missing image", "image: mcp-gateway/proxy:0.1.0", "", "Required value"},
		{"missing selector", "  selector:\n    matchLabels:\n      app.kubernetes.io/name: mcp-gateway\n  serviceName", "  serviceName", "selector"},
		{"missing target", "  scaleTargetRef:\n    apiVersion: apps/v1\n    kind: StatefulSet\n    name: mcp-gateway\n", "", "scaleTargetRef"},
		{"missing maximum", "maxReplicas: 6", "", "maxReplicas"},
		{"missing project", "  project: default\n", "", "Required value"},
		{"minimum above maximum", "minReplicas: 2", "minReplicas: 20", "must be greater than or equal to `minReplicas`"},
		{"mount without a volume", "mountPath: /run/mcp-gateway-ids\n          name: ids", "mountPath: /run/mcp-gateway-ids\n          name: id", "Not found"},
		{"two mounts at one place", "mountPath: /run/mcp-gateway-proxy\n", "mountPath: /run/mcp-gateway\n", "must be unique"},
		{"bad label", "app.kubernetes.io/instance: production", "app.kubernetes.io/instance: \"in production\"", "a valid label"},
		{"bad name", "name: mcp-gateway-ledger", "name: mcp_gateway_ledger", "RFC 1123"},
		{"bad block of addresses", "cidr: 0.0.0.0/0", "cidr: 0.0.0.0/33", "Invalid value"},
		{"bad port", "containerPort: 8081", "containerPort: 80810", "between 1 and 65535"},
		{"bad duration", "interval: 15s", "interval: 15 seconds", "interval"},
		{"privileged without escalation", "privileged: true", "allowPrivilegeEscalation: false\n          privileged: true", "allowPrivilegeEscalation"},
		{"selector of a set", "  selector:\n    matchLabels:\n      app.kubernetes.io/name: mcp-gateway\n  serviceName", "  selector:\n    matchLabels:\n      app.kubernetes.io/name: gateway\n  serviceName", "does not match template"},

		{"selector of a service", "  selector:\n    app.kubernetes.io/name: mcp-gateway\n", "  selector:\n    app.kubernetes.io/name: gateway\n", "matches no pod"},
		{"selector of a budget", "      app.kubernetes.io/name: mcp-gateway\n  unhealthy", "      app.kubernetes.io/name: gateway\n  unhealthy", "matches no pod"},
		{"selector of a monitor", "app.kubernetes.io/component: pods\n      app.", "app.kubernetes.io/component: pod\n      app.", `has the port "admin"`},
		{"target of an autoscaler", "kind: StatefulSet\n    name: mcp-gateway", "kind: Deployment\n    name: mcp-gateway", `there is no Deployment "mcp-gateway"`},
		{"port of a service", "targetPort: grpc", "targetPort: rpc", `no container has the port "rpc"`},
		{"port of a network policy", "port: http\n", "port: web\n", `no container has the port "web"`},
		{"a ConfigMap that is not there", "name: mcp-gateway\n        name: config", "name: mcp-gatewey\n        name: config", `there is no ConfigMap "mcp-gatewey"`},
		{"a Secret that nobody makes", "secretName: mcp-gateway", "secretName: mcp-secrets", `nobody makes the Secret "mcp-secrets"`},
		{"an account that is not there", "serviceAccountName: mcp-gateway", "serviceAccountName: gateway", `there is no ServiceAccount "gateway"`},
		{"a service that is not there", "serviceName: mcp-gateway-pods", "serviceName: mcp-gateway-pod", `there is no Service "mcp-gateway-pod"`},
		{"a namespace that is not there", "name: mcp-gateway-ledger\n  namespace: mcp-system", "name: mcp-gateway-ledger\n  namespace: mcp-systems", `there is no Namespace "mcp-systems"`},
		{"replicas beside an autoscaler", "  replicas: 1\n", "  replicas: 3\n", "both it and the autoscaler"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			planted := strings.ReplaceAll(all, c.old, c.planted)
			if planted == all {
				t.Fatalf("there is no %q to plant it at", c.old)
			}
			err := errors.Join(judge([]byte(planted))...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestRepeatedGroup: of rules of one object Prometheus takes no two groups of one name.
func TestRepeatedGroup(t *testing.T) {
	t.Parallel()
	all := built(t, overlay(t, []string{"monitoring"}))
	planted := regexp.MustCompile(`name: mcp-gateway-(servers|usage)\n`).ReplaceAllString(all, "name: again\n")
	if err := errors.Join(judge([]byte(planted))...); err == nil || !strings.Contains(err.Error(), "Duplicate value") {
		t.Errorf("got %v, want that it is refused", err)
	}
}

// TestMistakesInSources: what is planted into the files that are built.
func TestMistakesInSources(t *testing.T) {
	t.Parallel()
	if _, err := build(overlay(t, []string{"persistance"})); err == nil {
		t.Error("a component that is not there was used")
	}
	dir := overlay(t, []string{"persistence"})
	patch := filepath.Join(dir, "../../components/persistence/claims.yaml")
	if err := os.WriteFile(patch, []byte("kind: StatefulSet\napiVersion: apps/v1\nmetadata: {name: mcp-gateway}\nspec: {templates: {}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(judge([]byte(built(t, dir)))...); err == nil || !strings.Contains(err.Error(), `unknown field "spec.templates"`) {
		t.Errorf("got %v of a patch with an unknown field", err)
	}
}
