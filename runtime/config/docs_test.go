package config

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// keys gives every key of t as "a.NAME.b[].c" with its want tag. What has a type
// that was seen before is described there, so its keys are not given again.
func keys(t reflect.Type, prefix string, seen map[reflect.Type]bool, found map[string]string) {
	switch t.Kind() {
	case reflect.Map:
		keys(t.Elem(), prefix+".NAME", seen, found)
	case reflect.Slice:
		keys(t.Elem(), prefix+"[]", seen, found)
	case reflect.Struct:
		if seen[t] {
			return
		}
		seen[t] = true
		for i := range t.NumField() {
			field := t.Field(i)
			name := field.Tag.Get("config")
			switch key := strings.TrimPrefix(prefix+"."+name, "."); {
			case name != "":
				found[key] = field.Tag.Get("want")
				keys(field.Type, key, seen, found)
			case field.Anonymous:
				keys(field.Type, prefix, seen, found)
			}
		}
	}
}

// bound reads an end of a range: a number, or a duration in nanoseconds.
func bound(text string) float64 {
	if duration, err := time.ParseDuration(text); err == nil {
		return float64(duration)
	}
	number, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return math.NaN()
	}
	return number
}

func TestEveryKeyIsDocumented(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	seen := map[reflect.Type]bool{
		reflect.TypeFor[Resources](): true, reflect.TypeFor[Directory](): true, reflect.TypeFor[RateLimit](): true, reflect.TypeFor[GatewayRateLimit](): true,
		reflect.TypeFor[Listener](): true, reflect.TypeFor[TLS](): true, reflect.TypeFor[Claims](): true,
	}
	keys(reflect.TypeFor[Config](), "", seen, found)
	for shared, prefix := range map[reflect.Type]string{
		reflect.TypeFor[Resources](): "resources", reflect.TypeFor[GatewayRateLimit](): "rate_limit",
		reflect.TypeFor[Directory](): "servers.NAME.allowed_directories[]", reflect.TypeFor[Listener](): "transports.http", reflect.TypeFor[TLS](): "transports.http.tls",
		reflect.TypeFor[Claims](): "security.authentication.claims",
	} {
		keys(shared, prefix, map[reflect.Type]bool{}, found)
	}
	if len(found) < 70 {
		t.Fatalf("keys: got %d, want the whole schema", len(found))
	}
	for key, want := range found {
		row := regexp.MustCompile("(?m)^\\| `" + regexp.QuoteMeta(key) + "` \\|.*$").FindString(string(content))
		if row == "" && !strings.Contains(string(content), "`"+key) {
			t.Errorf("%s is not in docs/configuration.md", key)
		}
		low, high, isRange := strings.Cut(strings.TrimPrefix(want, "0|"), "..")
		if isRange && !(bound(low) < bound(high)) {
			t.Errorf("%s: %q is no range", key, want)
		}
		if isRange && !strings.Contains(row, low+" to "+high) {
			t.Errorf("%s: got %q, want its range, %s to %s", key, row, low, high)
		}
	}
}

// The examples of the documentation, and the file that packages install, load.
func TestPublishedConfigurationsLoad(t *testing.T) {
	t.Parallel()
	installed, err := os.ReadFile("../../packaging/mcp-gateway.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// The example's certificate and policy file are those of another host.
	installed = bytes.ReplaceAll(installed, []byte("/etc/mcp-gateway/tls/cert.pem, key_file: /etc/mcp-gateway/tls/key.pem"),
		[]byte(write(t, "cert.pem", "cert")+", key_file: "+write(t, "key.pem", "key")))
	policies, err := os.ReadFile("../../packaging/policies.yaml")
	if err != nil {
		t.Fatal(err)
	}
	installed = bytes.ReplaceAll(installed, []byte("/etc/mcp-gateway/policies.yaml}"), []byte(write(t, "policies.yaml", string(policies))+"}"))
	documents := map[string]string{"mcp-gateway.yaml": string(installed)}
	// The commented examples must load too.
	documents["uncommented.yaml"] = regexp.MustCompile(`(?m)^(\s+)# (\s*[a-z-].*)$`).ReplaceAllString(string(installed), "$1$2")
	manual, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?s)```(yaml|toml)\n(.*?)```").FindAllStringSubmatch(string(manual), -1) {
		documents["example."+block[1]] = block[2]
	}
	if len(documents) != 4 {
		t.Fatalf("documents: got %d, want the installed one twice and two examples", len(documents))
	}
	env := func(name string) (string, bool) { return "x", name == "ALPHA_FILES_KEY" }
	loaded := make(map[string]*Config)
	for name, content := range documents {
		c, _, err := parse(name, []byte(content), env, testHost(1000))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(c.Unsupported()) > 0 {
			t.Errorf("%s: got %v, want nothing unsupported", filepath.Base(name), c.Unsupported())
		}
		loaded[name] = c
	}
	if t.Failed() {
		return
	}
	if got := len(loaded["mcp-gateway.yaml"].Servers); got != 0 {
		t.Errorf("installed configuration: got %d servers, want none", got)
	}
	if got := len(loaded["uncommented.yaml"].Transports.Listeners()); got != 2 || loaded["uncommented.yaml"].Transports.HTTP.TLS.PEM == nil {
		t.Errorf("installed configuration, uncommented: got %d listeners, want HTTP's and gRPC's, and TLS", got)
	}
	if got := len(loaded["uncommented.yaml"].Servers); got != 1 {
		t.Errorf("installed configuration, uncommented: got %d servers, want its example", got)
	}
	withoutPositions(loaded["example.yaml"])
	withoutPositions(loaded["example.toml"])
	if !reflect.DeepEqual(loaded["example.yaml"], loaded["example.toml"]) {
		t.Errorf("examples: YAML gives %+v, TOML gives %+v", loaded["example.yaml"], loaded["example.toml"])
	}
}

// configurations are the blocks of a document that have a section of a configuration:
// fenced ones, and indented ones that begin with a section.
func configurations(text string) (found []string) {
	const sections = `(?:gateway|projects|servers|transports|security|rate_limit|resources|audit|secrets|sandbox):`
	fenced := regexp.MustCompile("(?s)```(\\w*)\n(.*?)```")
	for _, block := range fenced.FindAllStringSubmatch(text, -1) {
		if block[1] == "yaml" && regexp.MustCompile(`(?m)^`+sections).MatchString(block[2]) {
			found = append(found, block[2])
		}
	}
	for _, block := range regexp.MustCompile(`(?m)^    `+sections+`.*\n(?:(?:    .*)?\n)*`).FindAllString(fenced.ReplaceAllString(text, ""), -1) {
		found = append(found, regexp.MustCompile(`(?m)^    `).ReplaceAllString(block, ""))
	}
	return found
}

// Every configuration that a document shows loads, with the files and servers that it
// names.
func TestExamplesLoad(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, "any.pem", "text")
	files := regexp.MustCompile(`/etc/mcp-gateway/(tls/)?[a-z-]+\.(pem|crl)`)
	env := func(string) (string, bool) { return strings.Repeat("x", 64), true }
	loaded := 0
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, example := range configurations(string(text)) {
			example = files.ReplaceAllLiteralString(example, file)
			if !strings.Contains(example, "\nservers:") && !strings.HasPrefix(example, "servers:") {
				example += "\nservers: {files: {command: cat}, database: {command: cat}}\n"
			}
			if _, _, err := parse(filepath.Base(page)+".yaml", []byte(example), env, testHost(1000)); err != nil {
				t.Errorf("%s\n%s", err, example)
			}
			loaded++
		}
	}
	if loaded < 15 {
		t.Errorf("got %d examples, want those of all pages", loaded)
	}
}
