package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
)

// TestFiles: volumes are as the daemon wants the files in them, which are root's.
func TestFiles(t *testing.T) {
	t.Parallel()
	dirs := []string{overlay(t, []string{"api-keys", "tls"})}
	for _, dir := range folders() {
		dirs = append(dirs, filepath.Join(packaging, dir))
	}
	for _, dir := range dirs {
		pod := set(t, built(t, dir)).Spec.Template.Spec
		if pod.SecurityContext.FSGroup != nil {
			t.Errorf("%s: fsGroup gives files of volumes to a group, and the daemon refuses them", dir)
		}
		for _, v := range pod.Volumes {
			if v.ConfigMap != nil && *v.ConfigMap.DefaultMode&^0o444 != 0 {
				t.Errorf("%s: files of the volume %s have the mode %o", dir, v.Name, *v.ConfigMap.DefaultMode)
			}
			if v.Secret != nil && *v.Secret.DefaultMode != 0o400 {
				t.Errorf("%s: secrets of the volume %s have the mode %o", dir, v.Name, *v.Secret.DefaultMode)
			}
		}
	}
}

// TestNetwork: everything is closed but what is named, and what is named is not changed by
// what kustomize does with labels.
func TestNetwork(t *testing.T) {
	t.Parallel()
	for _, dir := range folders() {
		objects, _ := parse([]byte(built(t, filepath.Join(packaging, dir))))
		closed, dns := false, false
		for _, object := range objects {
			p, ok := object.(*networkingv1.NetworkPolicy)
			if !ok {
				continue
			}
			all := len(p.Spec.PodSelector.MatchLabels) == 0 && len(p.Spec.PodSelector.MatchExpressions) == 0
			closed = closed || all && len(p.Spec.Ingress) == 0 && len(p.Spec.Egress) == 0 && slices.Equal(p.Spec.PolicyTypes, []networkingv1.PolicyType{"Ingress", "Egress"})
			for _, rule := range p.Spec.Ingress {
				if len(rule.From) == 0 || len(rule.Ports) == 0 {
					t.Errorf("%s: %s lets everybody in, or to every port", dir, p.Name)
				}
			}
			for _, rule := range p.Spec.Egress {
				if len(rule.To) == 0 || len(rule.Ports) == 0 {
					t.Errorf("%s: %s lets out to everybody, or to every port", dir, p.Name)
				}
				for _, peer := range rule.To {
					dns = dns || peer.PodSelector != nil && len(peer.PodSelector.MatchLabels) == 1 && peer.PodSelector.MatchLabels["k8s-app"] == "kube-dns"
				}
			}
		}
		if !closed || !dns {
			t.Errorf("%s: closed is %t, and the cluster's DNS can be reached is %t", dir, closed, dns)
		}
	}
}

// TestMetricOfCalls: the autoscaler's metric is the one that the adapter makes, of one that
// the gateway has.
func TestMetricOfCalls(t *testing.T) {
	t.Parallel()
	const metric = "mcp_gateway_calls_in_flight"
	for path, want := range map[string]string{
		"components/autoscaling-calls/kustomization.yaml": "metric: {name: " + metric + "}",
		"components/autoscaling-calls/adapter-rules.yaml": "name: {as: " + metric + "}",
		"../../docs/metrics.md":                           "| `" + metric + "` | gauge |",
	} {
		text, err := os.ReadFile(filepath.Join(packaging, path))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s does not say %q (%v)", path, want, err)
		}
	}
}
