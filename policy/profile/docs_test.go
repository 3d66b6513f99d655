package profile

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"mcpgateway/runtime/document"
)

// Every key has a row with its range and its default, every group is named, and the
// example loads.
func TestEveryKeyIsDocumented(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../docs/profiles.md")
	if err != nil {
		t.Fatal(err)
	}
	manual := string(content)
	root, _ := shippedSet(t).Get("default")
	for _, k := range Schema() {
		row := regexp.MustCompile("(?m)^\\| `" + regexp.QuoteMeta(k.String()) + "` \\|.*$").FindString(manual)
		want, orZero := strings.CutPrefix(reflect.TypeFor[Profile]().FieldByIndex(k.index).Tag.Get("want"), "0|")
		if low, high, isRange := strings.Cut(want, ".."); isRange {
			want = low + " to " + high
			if orZero {
				want = "0, or " + want
			}
		} else {
			want = "`" + strings.ReplaceAll(want, "|", "`, `") + "`"
		}
		if row == "" || want != "``" && !strings.Contains(row, "| "+want+" |") {
			t.Errorf("%s: got row %q, want %q in it", k.String(), row, want)
		}
		if value := strings.Trim(TOML(k.Of(&root.Profile)), `"`); value != "" && !strings.HasPrefix(value, "[") && !strings.Contains(strings.ReplaceAll(row, `"`, ""), value) {
			t.Errorf("%s: got row %q, want its default, %s", k.String(), row, value)
		}
	}
	for name := range groups {
		if !strings.Contains(manual, "`"+name+"`") {
			t.Errorf("%s is not in docs/profiles.md", name)
		}
	}
	for _, f := range append(document.Keys(reflect.TypeFor[Mount]()), document.Keys(reflect.TypeFor[IOMax]())...) {
		if name := f.Tag.Get("config"); !strings.Contains(manual, "`"+name+"`") {
			t.Errorf("%s is not in docs/profiles.md", name)
		}
	}
	example := regexp.MustCompile("(?s)```toml\n(.*?)```").FindStringSubmatch(manual)
	if example == nil {
		t.Fatal("docs/profiles.md has no example")
	}
	if _, _, err := load(t, map[string]string{"crm.toml": example[1]}); err != nil {
		t.Errorf("example: %v", err)
	}
}

// The manual's table of shipped profiles says what each extends.
func TestShippedProfilesAreDocumented(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile(filepath.Join("../../docs", "profiles.md"))
	if err != nil {
		t.Fatal(err)
	}
	set := shippedSet(t)
	for _, name := range set.Names() {
		e, _ := set.Get(name)
		parent := ""
		if len(e.Chain) > 1 {
			parent = "`" + e.Chain[1] + "` "
		}
		if row := "| `" + name + "` | " + parent + "| "; !strings.Contains(string(manual), row) {
			t.Errorf("want a row %q", row)
		}
		if e.Description == "" {
			t.Errorf("%s has no description", name)
		}
	}
}
