package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the commands that need no gateway as a user types them.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", built.bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			return nil
		},
	})
}

// TestProductExamples checks the configurations that were promised to work, as
// they stand.
func TestProductExamples(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("../../runtime/config/testdata/seed/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("the product's examples: got %v and %v, want some", paths, err)
	}
	installPolicies(t)
	before := runFolders(t)
	for _, path := range paths {
		cmd := exec.CommandContext(t.Context(), filepath.Join(built.bin, "mcp-gateway"), "check", path)
		for _, name := range []string{"ALPHA_FILESYSTEM_KEY", "ALPHA_DB_URL", "BETA_FILESYSTEM_KEY", "BETA_DB_URL", "JWT_SECRET_KEY", "NEW_CLIENT_DB_URL"} {
			cmd.Env = append(cmd.Env, name+"=secret-of-the-product-"+name) // a key of tokens has 32 bytes at least
		}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), ": loads: ") {
			t.Errorf("check %s: got %v, %s; want that it loads", path, err, out)
		}
		if strings.Contains(string(out), "secret-") {
			t.Errorf("check %s shows a secret: %s", path, out)
		}
	}
	if left := orphans(t, before); len(left) > 0 {
		t.Errorf("check has made %v", left)
	}
}

// installPolicies puts a policy file where an installed gateway has one, and where the
// product's examples name it, until the end of the test.
func installPolicies(t *testing.T) {
	t.Helper()
	const folder, file = "/etc/mcp-gateway", "/etc/mcp-gateway/policies.yaml"
	if _, err := os.Stat(file); err == nil {
		return
	}
	content, err := os.ReadFile("../../packaging/policies.yaml")
	if err != nil {
		t.Fatal(err)
	}
	made := os.Mkdir(folder, 0o755) == nil
	t.Cleanup(func() {
		os.Remove(file)
		if made {
			os.Remove(folder)
		}
	})
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
}
