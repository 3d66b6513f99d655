package containers_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// stage is one of a Dockerfile.
type stage struct {
	name, base       string
	user             string
	entrypoint, cmd  []string
	labels           string
	copied, executed []string // COPY and RUN
}

// parseDockerfile reads as much of the language as ours use.
func parseDockerfile(t *testing.T, path string) (stages []stage) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(source, path))
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(string(content), "")
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.TrimSpace(rest)
		if len(stages) == 0 && word != "FROM" {
			if word != "" && word != "ARG" {
				t.Fatalf("%s: %s before FROM", path, word)
			}
			continue
		}
		if word == "FROM" {
			base, name, _ := strings.Cut(rest, " AS ")
			stages = append(stages, stage{base: base, name: name})
			continue
		}
		s := &stages[len(stages)-1]
		switch word {
		case "USER":
			s.user = rest
		case "ENTRYPOINT":
			s.entrypoint = arguments(t, rest)
		case "CMD":
			s.cmd = arguments(t, rest)
		case "LABEL":
			s.labels += rest
		case "COPY":
			s.copied = append(s.copied, rest)
		case "RUN":
			s.executed = append(s.executed, rest)
		case "", "ARG", "ENV", "WORKDIR", "EXPOSE", "STOPSIGNAL":
		default:
			t.Errorf("%s: %s is not expected in it", path, word)
		}
	}
	return stages
}

// arguments are those of the form that needs no shell.
func arguments(t *testing.T, text string) (list []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Errorf("%s: %v: there is no shell in the image", text, err)
	}
	return list
}

func targets(t *testing.T) map[string]stage {
	t.Helper()
	all := map[string]stage{}
	for _, s := range parseDockerfile(t, "packaging/docker/Dockerfile") {
		all[s.name] = s
	}
	return all
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	all := targets(t)
	if len(all) != 3 || !strings.Contains(strings.Join(all["build"].executed, "\n"), "packaging/docker/rootfs.sh") {
		t.Fatalf("stages: %+v", all)
	}
	for role, user := range map[string]string{"daemon": "0:0", "proxy": "65532:65532"} {
		s := all[role]
		if s.base != "scratch" || s.user != user || len(s.executed) > 0 || !slices.Equal(s.copied, []string{"--from=build /rootfs/" + role + "/ /"}) {
			t.Errorf("%s: got %+v, want scratch with its root filesystem alone, and user %s", role, s, user)
		}
		if _, err := os.Stat(filepath.Join(made.dir, role, s.entrypoint[0])); err != nil {
			t.Errorf("%s: %v", role, err)
		}
		for _, label := range []string{"title=", "description=", `version="$VERSION"`, "licenses="} {
			if !strings.Contains(s.labels, "org.opencontainers.image."+label) {
				t.Errorf("%s has no label %s", role, label)
			}
		}
	}
}

// TestBases wants every base to have a version, and none to be of a registry that
// not everybody has.
func TestBases(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(source, "packaging/docker/examples/*.Dockerfile"))
	if err != nil || len(files) == 0 {
		t.Fatal(err, "no examples")
	}
	for _, file := range append(files, filepath.Join(source, "packaging/docker/Dockerfile")) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		names := map[string]bool{"scratch": true}
		values := map[string]string{}
		for _, argument := range regexp.MustCompile(`(?m)^ARG (\w+)=(\S+)$`).FindAllStringSubmatch(string(content), -1) {
			values[argument[1]] = argument[2]
		}
		for _, from := range regexp.MustCompile(`(?m)^FROM (\S+)(?: AS (\S+))?$`).FindAllStringSubmatch(string(content), -1) {
			base := os.Expand(from[1], func(name string) string { return values[name] })
			_, tag, tagged := strings.Cut(base, ":")
			if !names[base] && (!tagged || strings.HasPrefix(tag, "latest") || strings.Count(base, "/") > 1) {
				t.Errorf("%s: base %q, want one with a version, by its short name", file, base)
			}
			names[from[2]] = true
		}
	}
}

// TestVersions compares the versions that files name with the Makefile's.
func TestVersions(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile(filepath.Join(source, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	version := string(regexp.MustCompile(`(?m)^VERSION := (\S+)$`).FindSubmatch(makefile)[1])
	files, err := filepath.Glob(filepath.Join(source, "packaging/docker/examples/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, filepath.Join(source, "packaging/docker/Dockerfile"), filepath.Join(source, "packaging/docker/compose.yaml")) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`(?:mcp-gateway/\w+:(?:\$\{MCP_GATEWAY_VERSION:-)?|VERSION=)(\d[\d.]*)`).FindAllSubmatch(content, -1) {
			if string(found[1]) != version {
				t.Errorf("%s names version %s, the Makefile %s", file, found[1], version)
			}
		}
	}
}

// TestBuildWithoutEngine has none, or one that does not work.
func TestBuildWithoutEngine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "broken"), []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for engine, want := range map[string]string{"broken": "broken is here, but does not work", "missing": "no container engine works here"} {
		cmd := exec.Command(filepath.Join(source, "packaging/docker/build.sh"), "1.2.3")
		cmd.Env = []string{"PATH=" + dir + ":/usr/bin:/bin", "ENGINE=" + engine}
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) || !strings.Contains(string(out), "install one") {
			t.Errorf("%q: got %v\n%s", engine, err, out)
		}
	}
}

// TestBuildWithEngine follows what an engine is told.
func TestBuildWithEngine(t *testing.T) {
	t.Parallel()
	for engine, want := range map[string]string{"docker": "build", "podman": "build --timestamp 7", "buildah": "build --layers --timestamp 7"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, engine), []byte("#!/bin/sh\necho \"$@\" >>\"$0.log\"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(filepath.Join(source, "packaging/docker/build.sh"), "1.2.3", "--no-cache")
		cmd.Env = []string{"PATH=" + dir + ":/usr/bin:/bin", "ENGINE=" + engine, "SOURCE_DATE_EPOCH=7", "PREFIX=example.org/gw"}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", engine, err, out)
		}
		log, err := os.ReadFile(filepath.Join(dir, engine+".log"))
		if err != nil {
			t.Fatal(err)
		}
		for _, role := range roles() {
			line := "--target " + role + " --tag example.org/gw/" + role + ":1.2.3 --build-arg VERSION=1.2.3 --build-arg SOURCE_DATE_EPOCH=7 --no-cache .\n"
			if !strings.Contains(string(log), line) || !strings.Contains(string(log), "\n"+want+" ") {
				t.Errorf("%s was told:\n%swant %s…%s", engine, log, want, line)
			}
		}
	}
}
