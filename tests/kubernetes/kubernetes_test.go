package main

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// packaging is reached as the product's own documents write it: deployment is a link to it.
const (
	packaging = "../../packaging/kubernetes"
	linked    = "../../deployment/kubernetes"
)

var update = flag.Bool("update", false, "make the rules of packaging/kubernetes anew")

func overlays() []string { return []string{"development", "staging", "production"} }

// folders are all that can be applied as it stands.
func folders() []string {
	return []string{"", "base", "overlays/development", "overlays/staging", "overlays/production"}
}

func built(t *testing.T, dir string) string {
	t.Helper()
	text, err := build(dir)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEverythingIsAccepted(t *testing.T) {
	t.Parallel()
	for _, dir := range folders() {
		t.Run(filepath.Join("kubernetes", dir), func(t *testing.T) {
			t.Parallel()
			text := built(t, filepath.Join(packaging, dir))
			for _, fault := range judge([]byte(text)) {
				t.Error(fault)
			}
			if through := built(t, filepath.Join(linked, dir)); through != text {
				t.Errorf("deployment/kubernetes/%s is something else than packaging/kubernetes/%[1]s", dir)
			}
		})
	}
}

// TestComponents puts each component, and all that go together, on the base.
func TestComponents(t *testing.T) {
	t.Parallel()
	for _, components := range [][]string{
		{"persistence"}, {"autoscaling"}, {"autoscaling", "autoscaling-calls"}, {"monitoring"}, {"api-keys"}, {"tls"}, {"istio"}, {"linkerd"},
		{"persistence", "autoscaling", "autoscaling-calls", "monitoring", "api-keys", "tls", "istio"},
	} {
		t.Run(strings.Join(components, "+"), func(t *testing.T) {
			t.Parallel()
			dir := overlay(t, components)
			for _, fault := range judge([]byte(built(t, dir))) {
				t.Error(fault)
			}
		})
	}
	all, err := os.ReadDir(filepath.Join(packaging, "components"))
	if err != nil || len(all) != 8 {
		t.Errorf("there are %d components, want the 8 that are tried here (%v)", len(all), err)
	}
}

// overlay makes one of the base and components, beside them, as kustomize wants it.
func overlay(t *testing.T, components []string) string {
	t.Helper()
	top := t.TempDir()
	if err := os.CopyFS(top, os.DirFS(packaging)); err != nil {
		t.Fatal(err)
	}
	text := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../../base]\ncomponents:\n"
	for _, c := range components {
		text += "  - ../../components/" + c + "\n"
	}
	dir := filepath.Join(top, "overlays/tried")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestArgoCD(t *testing.T) {
	t.Parallel()
	if faults := judge([]byte(built(t, packaging+"/argocd"))); faults != nil {
		t.Error(faults)
	}
	for _, name := range []string{"application.yaml", "applicationset.yaml"} {
		text, err := os.ReadFile(filepath.Join(packaging, "argocd", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, fault := range judge(text) {
			t.Errorf("%s: %v", name, fault)
		}
		for _, path := range regexp.MustCompile(`path: "?([^"\s]+)`).FindAllStringSubmatch(string(text), -1) {
			for _, o := range overlays() {
				dir := strings.ReplaceAll(path[1], "{{.environment}}", o)
				if _, err := os.Stat(filepath.Join("../..", dir, "kustomization.yaml")); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		for _, o := range overlays() {
			if name == "applicationset.yaml" && !strings.Contains(string(text), "environment: "+o) {
				t.Errorf("%s has no %s", name, o)
			}
		}
	}
}

// set returns the StatefulSet of a text.
func set(t *testing.T, text string) *appsv1.StatefulSet {
	t.Helper()
	objects, faults := parse([]byte(text))
	for _, object := range objects {
		if s, ok := object.(*appsv1.StatefulSet); ok {
			return s
		}
	}
	t.Fatalf("there is no StatefulSet: %v", faults)
	return nil
}

// TestPrivileges: the daemon has them, and nothing else has any.
func TestPrivileges(t *testing.T) {
	t.Parallel()
	for _, dir := range folders() {
		t.Run(filepath.Join("kubernetes", dir), func(t *testing.T) {
			t.Parallel()
			template := set(t, built(t, filepath.Join(packaging, dir))).Spec.Template
			pod := template.Spec
			if len(pod.InitContainers) != 1 || len(pod.Containers) != 1 || len(pod.EphemeralContainers) != 0 {
				t.Fatalf("got %d and %d containers, want the daemon and the proxy", len(pod.InitContainers), len(pod.Containers))
			}
			daemon, proxy := pod.InitContainers[0], pod.Containers[0]
			if daemon.Name != "daemon" || daemon.RestartPolicy == nil || *daemon.RestartPolicy != corev1.ContainerRestartPolicyAlways {
				t.Error("the daemon is no sidecar")
			}
			if c := daemon.SecurityContext; !*c.Privileged || !*c.ReadOnlyRootFilesystem || *c.RunAsUser != 0 {
				t.Errorf("the daemon's security context is %v", c)
			}
			if c := proxy.SecurityContext; !*c.ReadOnlyRootFilesystem || *c.RunAsUser != 65532 || *c.RunAsGroup != 65532 {
				t.Errorf("the proxy's security context is %v", c)
			}
			for _, mount := range proxy.VolumeMounts {
				if mount.Name == "control" && !mount.ReadOnly {
					t.Error("the proxy can put another socket in the place of the daemon's")
				}
				if slices.Contains([]string{"config", "secrets", "keys", "tls", "state", "audit", "ids"}, mount.Name) {
					t.Errorf("the proxy has the daemon's volume %q", mount.Name)
				}
			}
			if *pod.AutomountServiceAccountToken || pod.HostNetwork || pod.HostPID || pod.HostIPC {
				t.Error("the pod has a token, or a namespace of the node's")
			}
			restricted(t, &template)
		})
	}
}

// restricted wants the pod without its daemon to be good by Kubernetes' strictest standard.
func restricted(t *testing.T, template *corev1.PodTemplateSpec) {
	t.Helper()
	pod := template.Spec.DeepCopy()
	pod.InitContainers = nil
	pod.Volumes = slices.DeleteFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == "ids" }) // the daemon's hostPath
	checks, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range checks.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &template.ObjectMeta, pod) {
		if !result.Allowed {
			t.Errorf("the proxy is not as Pod Security's level restricted wants it: %s: %s", result.ForbiddenReason, result.ForbiddenDetail)
		}
	}
}

func TestImagesAreOfThisVersion(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^VERSION := (\S+)$`).FindStringSubmatch(string(makefile))
	if version == nil {
		t.Fatal("the Makefile has no VERSION")
	}
	for _, dir := range folders() {
		pod := set(t, built(t, filepath.Join(packaging, dir))).Spec.Template.Spec
		for _, container := range append(pod.InitContainers, pod.Containers...) {
			if want := "mcp-gateway/" + container.Name + ":" + version[1]; container.Image != want {
				t.Errorf("%s: got the image %s, want %s", dir, container.Image, want)
			}
		}
	}
	text, err := os.ReadFile(packaging + "/argocd/applicationset.yaml")
	if err != nil || !strings.Contains(string(text), "revision: v"+version[1]) {
		t.Errorf("argocd/applicationset.yaml deploys another version than v%s (%v)", version[1], err)
	}
}

func TestRulesAreThoseOfPrometheus(t *testing.T) {
	t.Parallel()
	want, err := prometheusRules("../../packaging/prometheus")
	if err != nil {
		t.Fatal(err)
	}
	path := packaging + "/components/monitoring/rules.yaml"
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s is not what packaging/prometheus says: run make kubernetes-rules (%v)", path, err)
	}
}

// TestConfigurations has the gateway's own command read what is in each ConfigMap, as a volume
// shows it.
func TestConfigurations(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Fatal("the configuration is root's: run this as root")
	}
	command := filepath.Join(t.TempDir(), "mcp-gateway")
	if out, err := exec.Command("go", "build", "-C", "../..", "-o", command, "./cmd/mcp-gateway").CombinedOutput(); err != nil {
		t.Fatalf("build the command: %v\n%s", err, out)
	}
	for _, dir := range folders() {
		t.Run(filepath.Join("kubernetes", dir), func(t *testing.T) {
			t.Parallel()
			text := built(t, filepath.Join(packaging, dir))
			check(t, command, configuration(t, text))
			room(t, text)
		})
	}
	t.Run("examples of the base", func(t *testing.T) {
		t.Parallel()
		data := configuration(t, built(t, packaging))
		for name, content := range data {
			if data[name] = regexp.MustCompile(`(?m)^( +)# `).ReplaceAllString(content, "$1"); data[name] == content {
				t.Errorf("%s has no examples", name)
			}
		}
		check(t, command, data)
	})
}

// check has the command read what a ConfigMap holds.
func check(t *testing.T, command string, data map[string]string) {
	t.Helper()
	out, err := exec.Command(command, "check", "-o", "json", filepath.Join(volume(t, data), "mcp-gateway.yaml")).CombinedOutput()
	var checked struct {
		Loads    bool
		Warnings []struct{ Position, Text string }
	}
	if err != nil || json.Unmarshal(out, &checked) != nil || !checked.Loads {
		t.Fatalf("mcp-gateway check: %v\n%s", err, out)
	}
	for _, w := range checked.Warnings {
		// Something before the pod ends TLS, or components/tls is used; no secret is here.
		if !strings.Contains(w.Text, "something else ends TLS") && !strings.Contains(w.Text, "secrets were not looked up") {
			t.Errorf("mcp-gateway check warns: %s: %s", w.Position, w.Text)
		}
	}
}

// volume writes the ConfigMap's files as the kubelet does: links to a folder that is another
// after each change.
func volume(t *testing.T, data map[string]string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(folder, "..1"), 0o755), os.Symlink("..1", filepath.Join(folder, "..data"))); err != nil {
		t.Fatal(err)
	}
	for name, content := range data {
		content = strings.ReplaceAll(content, "/etc/mcp-gateway/policies.yaml", filepath.Join(folder, "policies.yaml"))
		err := os.WriteFile(filepath.Join(folder, "..1", name), []byte(content), 0o444)
		if err := errors.Join(err, os.Symlink(filepath.Join("..data", name), filepath.Join(folder, name))); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// configuration is what the ConfigMap holds.
func configuration(t *testing.T, text string) map[string]string {
	t.Helper()
	objects, _ := parse([]byte(text))
	for _, object := range objects {
		if c, ok := object.(*corev1.ConfigMap); ok && c.Name == "mcp-gateway" {
			return c.Data
		}
	}
	t.Fatal("there is no ConfigMap mcp-gateway")
	return nil
}

// room wants the daemon's memory to be enough for as many servers as the configuration
// allows, since the kernel ends them all if it is not.
func room(t *testing.T, text string) {
	t.Helper()
	settings := configuration(t, text)["mcp-gateway.yaml"]
	servers, memory := number(t, settings, "max_servers"), number(t, settings, "max_memory_mb")
	limit := set(t, text).Spec.Template.Spec.InitContainers[0].Resources.Limits.Memory().Value() >> 20
	if need := servers*memory + 256; need > limit {
		t.Errorf("%d servers of %d MiB and the daemon need %d MiB, and its container gets %d", servers, memory, need, limit)
	}
}

func number(t *testing.T, text, key string) (n int64) {
	t.Helper()
	found := regexp.MustCompile(key + `: (\d+)`).FindStringSubmatch(text)
	if found == nil || json.Unmarshal([]byte(found[1]), &n) != nil {
		t.Fatalf("the configuration does not say %s", key)
	}
	return n
}

// TestPorts: what the proxy is told to listen on is what its container, and the
// configuration, have.
func TestPorts(t *testing.T) {
	t.Parallel()
	for _, dir := range folders() {
		text := built(t, filepath.Join(packaging, dir))
		proxy := set(t, text).Spec.Template.Spec.Containers[0]
		settings := configuration(t, text)["mcp-gateway.yaml"]
		for _, port := range proxy.Ports {
			listen := "-listen=" + port.Name + "=:" + decimal(port.ContainerPort)
			if !slices.Contains(proxy.Args, listen) {
				t.Errorf("%s: the proxy is not told %s", dir, listen)
			}
			if port.Name != "admin" && !regexp.MustCompile(`(?s)\n  `+port.Name+`:.{1,60}?port: `+decimal(port.ContainerPort)).MatchString(settings) {
				t.Errorf("%s: the configuration has not the port of %s", dir, listen)
			}
		}
	}
}

func decimal(n int32) string {
	text, _ := json.Marshal(n)
	return string(text)
}
