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
	before := runFolders(t)
	for _, path := range paths {
		cmd := exec.CommandContext(t.Context(), filepath.Join(built.bin, "mcp-gateway"), "check", path)
		for _, name := range []string{"ALPHA_FILESYSTEM_KEY", "ALPHA_DB_URL", "BETA_FILESYSTEM_KEY", "BETA_DB_URL", "JWT_SECRET_KEY", "NEW_CLIENT_DB_URL"} {
			cmd.Env = append(cmd.Env, name+"=secret-"+name)
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
