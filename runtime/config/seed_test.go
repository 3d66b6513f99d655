package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mcpgateway/runtime/document"
)

// productVariables are the variables of the product document's examples, each
// with the place where an example uses it.
var productVariables = map[string]struct{ file, position string }{
	"ALPHA_FILESYSTEM_KEY": {"product-project-isolation.yaml", "7:16"},
	"ALPHA_DB_URL":         {"product-project-isolation.yaml", "8:21"},
	"BETA_FILESYSTEM_KEY":  {"product-project-isolation.yaml", "16:16"},
	"BETA_DB_URL":          {"product-project-isolation.yaml", "17:21"},
	"JWT_SECRET_KEY":       {"product-security.yaml", "4:14"},
	"NEW_CLIENT_DB_URL":    {"product-hot-reload.yaml", "7:21"},
}

// productExamples gives the product document's examples, as they stand there.
func productExamples(t *testing.T) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/seed/product-*.yaml")
	if err != nil || len(paths) != 9 {
		t.Fatalf("product examples: got %d and %v, want 9", len(paths), err)
	}
	documents := make(map[string][]byte)
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		documents[filepath.Base(path)] = content
	}
	return documents
}

func unset(string) (string, bool) { return "", false }

func TestProductExamplesLoad(t *testing.T) {
	t.Parallel()
	env := func(name string) (string, bool) {
		_, ok := productVariables[name]
		return "value-of-" + name + ", which is long enough", ok
	}
	unsupported := map[string]int{
		"product-service-discovery.yaml": 1,
	}
	for name, content := range productExamples(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := systemHost()
			host.rules = testHost(0).rules // the policy file is no part of the example
			c, _, err := parse(name, content, env, host)
			if err != nil {
				t.Fatalf("Parse: %v", err)
			}
			if got, want := len(c.Unsupported()), unsupported[name]; got != want {
				t.Errorf("unsupported settings: got %v, want %d", c.Unsupported(), want)
			}
			for _, server := range c.Servers {
				if len(server.Env["ALLOWED_DIRECTORIES"].Reveal()) > 0 && len(server.AllowedDirectories) != 1 {
					t.Errorf("directories: got %v, want the one of the variable", server.AllowedDirectories)
				}
				if url := server.Env["DATABASE_URL"]; !url.Empty() && url.Reveal()[:9] != "value-of-" {
					t.Errorf("DATABASE_URL: got %q, want the variable's value", url.Reveal())
				}
			}
		})
	}
}

func TestProductExamplesWithoutVariables(t *testing.T) {
	t.Parallel()
	for name, content := range productExamples(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var want []string
			for variable, use := range productVariables {
				if use.file == name {
					want = append(want, name+":"+use.position+" "+variable)
				}
			}
			host := systemHost()
			host.rules = testHost(0).rules
			_, _, err := parse(name, content, unset, host)
			var found document.Errors
			if !errors.As(err, &found) && err != nil {
				t.Fatalf("Parse: got %v, want document.Errors", err)
			}
			var got []string
			for _, one := range found {
				got = append(got, one.Position+" "+variableIn(one.Text))
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("errors: got %q, want %q", got, want)
			}
		})
	}
}

// variableIn gives the one variable that text names.
func variableIn(text string) string {
	for name := range productVariables {
		if strings.Contains(text, "variable "+name+" is not set") {
			return name
		}
	}
	return text
}
