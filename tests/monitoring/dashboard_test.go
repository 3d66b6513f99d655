package monitoring

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

const grafana = "../../packaging/grafana"

// TestMain knows the flag -update, which writes the dashboards anew.
func TestMain(m *testing.M) {
	flag.Bool("update", false, "write the dashboards anew")
	os.Exit(m.Run())
}

func update() bool { return flag.Lookup("update").Value.String() == "true" }

func dashboards(t *testing.T) []source {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(grafana, "dashboards.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := parse(text)
	if err != nil || len(list) == 0 {
		t.Fatalf("got %d dashboards, %v", len(list), err)
	}
	return list
}

// The files are what their source says, and there are no others.
func TestDashboardsAreUpToDate(t *testing.T) {
	want := map[string]bool{}
	for _, d := range dashboards(t) {
		text, err := dashboard(d)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(grafana, d.File+".json")
		want[path] = true
		if update() {
			if err := os.WriteFile(path, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s is not what dashboards.yaml says: make it with make dashboards (%v)", path, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(grafana, "*.json"))
	if err != nil || len(files) != len(want) {
		t.Errorf("got %v, %v, want %d dashboards and no others", files, err, len(want))
	}
}
