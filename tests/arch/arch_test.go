package arch

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// goldenFile is the committed list of every package that the daemon links. A new
// line in it is a question in review.
const goldenFile = "testdata/mcp-gatewayd.deps"

// root is the module's root, seen from this package's folder.
const root = "../.."

// TestMain knows the flag -update. Run this package with -count=1: go test caches
// its result, for it does not see what go list reads.
func TestMain(m *testing.M) {
	flag.Bool("update", false, "rewrite "+goldenFile)
	os.Exit(m.Run())
}

func update() bool { return flag.Lookup("update").Value.String() == "true" }

func report(t *testing.T, problems []string) {
	t.Helper()
	for _, p := range problems {
		t.Error(p)
	}
}

func source(t *testing.T) []sourceFile {
	t.Helper()
	files, err := loadSource(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("found no Go file below %s", root)
	}
	return files
}

func linked(t *testing.T, c colour) []linkedPackage {
	t.Helper()
	tags := ""
	if c.tagsVariable != "" {
		makefile, err := os.Open(filepath.Join(root, "Makefile"))
		if err != nil {
			t.Fatal(err)
		}
		defer makefile.Close()
		if tags, err = makeVariable(makefile, c.tagsVariable); err != nil {
			t.Fatal(err)
		}
	}
	packages, err := linkedBy(t.Context(), root, c.binary, tags)
	if err != nil {
		t.Fatal(err)
	}
	return packages
}

func daemon(t *testing.T) []linkedPackage {
	t.Helper()
	return linked(t, colours()[0])
}

func TestOrder(t *testing.T) { t.Parallel(); report(t, checkOrder(source(t), layers())) }

func TestReserved(t *testing.T) { t.Parallel(); report(t, checkReserved(source(t), reservations())) }

func TestInit(t *testing.T) { t.Parallel(); report(t, checkInit(source(t))) }

func TestComments(t *testing.T) { t.Parallel(); report(t, checkComments(source(t))) }

func TestPlaces(t *testing.T) { t.Parallel(); report(t, checkPlaces(source(t))) }

func TestColours(t *testing.T) {
	t.Parallel()
	for _, c := range colours() {
		t.Run(filepath.Base(c.binary), func(t *testing.T) {
			t.Parallel()
			report(t, checkColour(c, linked(t, c)))
		})
	}
}

func TestBudget(t *testing.T) {
	t.Parallel()
	lines, err := ownLines(daemon(t))
	if err != nil {
		t.Fatal(err)
	}
	report(t, checkBudget(lines, privilegedLines))
}

func TestDependencies(t *testing.T) {
	t.Parallel()
	got := dependencies(daemon(t))
	if update() {
		if err := os.MkdirAll(filepath.Dir(goldenFile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(goldenFile, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatalf("%v; make it with: go test ./tests/arch -run TestDependencies -update", err)
	}
	report(t, checkDependencies(got, strings.Fields(string(committed))))
}
