package images

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// host makes a small host: a program in /usr/bin, one in /opt/node/bin that
// /usr/bin/node links to, and an alternative that goes through /etc.
func host(t *testing.T) (image *Image, root string) {
	t.Helper()
	root = t.TempDir()
	for _, name := range []string{"usr/bin/cat", "usr/bin/data", "opt/node/bin/node", "opt/tool/run"} {
		path := filepath.Join(root, name)
		mode := os.FileMode(0o755)
		if strings.HasSuffix(name, "data") {
			mode = 0o644
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, mode)); err != nil {
			t.Fatal(err)
		}
	}
	links := map[string]string{
		"usr/bin/node":         "/opt/node/bin/node",
		"usr/bin/awk":          "/etc/alternatives/awk",
		"etc/alternatives/awk": "/usr/bin/cat",
		"usr/bin/loop":         "loop",
		"usr/bin/relative":     "../bin/cat",
	}
	for name, target := range links {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(target, path)); err != nil {
			t.Fatal(err)
		}
	}
	return &Image{
		Name:  "host",
		Binds: []Bind{{filepath.Join(root, "usr"), "/usr"}, {filepath.Join(root, "etc"), "/etc"}},
		Links: []Link{{"/bin", "usr/bin"}},
	}, root
}

func TestFind(t *testing.T) {
	image, root := host(t)
	node := Bind{filepath.Join(root, "opt/node"), "/opt/node"}
	tests := []struct {
		name    string
		command string
		mounts  []Bind
		want    string // "" means not visible
	}{
		{"by name", "cat", nil, "/usr/bin/cat"},
		{"through a top link", "/bin/cat", nil, "/bin/cat"},
		{"through a relative link", "relative", nil, "/usr/bin/relative"},
		{"through an alternative", "awk", nil, "/usr/bin/awk"},
		{"link out of the image", "node", nil, ""},
		{"link into a mount", "node", []Bind{node}, "/usr/bin/node"},
		{"absolute in a mount", "/opt/node/bin/node", []Bind{node}, "/opt/node/bin/node"},
		{"by name in a mount's folder", "run", []Bind{{filepath.Join(root, "opt/tool"), "/tools"}}, "/tools/run"},
		{"absolute outside", "/opt/node/bin/node", nil, ""},
		{"not executable", "/usr/bin/data", nil, ""},
		{"folder", "/usr/bin", nil, ""},
		{"endless link", "loop", nil, ""},
		{"climbing out", "/usr/../opt/node/bin/node", nil, ""},
		{"relative", "bin/cat", nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := image.Find(tt.command, tt.mounts)
			if got != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
			var missing *NotVisibleError
			if tt.want == "" && !errors.As(err, &missing) {
				t.Errorf("got error %v, want a *NotVisibleError", err)
			}
		})
	}
}

func TestFindNamesTheMissingMount(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "bin", "only-here")
	if err := errors.Join(os.Mkdir(filepath.Dir(program), 0o755), os.WriteFile(program, nil, 0o755)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(program))
	image := &Image{Name: "host"}
	for _, command := range []string{"only-here", program} {
		_, err := image.Find(command, nil)
		want := `command "` + command + `" is not visible in image "host": add a read-only mount for ` + dir
		if err == nil || err.Error() != want {
			t.Errorf("got error %v, want %q", err, want)
		}
	}
}

func TestWriteEtc(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etc")
	if err := WriteEtc(dir); err != nil {
		t.Fatal(err)
	}
	passwd, err := os.ReadFile(filepath.Join(dir, "passwd"))
	if err != nil || !strings.Contains(string(passwd), "mcp:x:1000:1000:") {
		t.Errorf("got passwd %q, %v, want the user mcp", passwd, err)
	}
	for _, name := range []string{"shadow", "machine-id", "ssh", "fstab"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the image's /etc has %s of the host", name)
		}
	}
	if err := WriteEtc(dir); err == nil {
		t.Error("wrote over an /etc that was there")
	}
}
