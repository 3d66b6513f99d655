package hostpath

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestPaths(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		path                       string
		system, noSource, noTarget bool
	}{
		{"/", true, true, true},
		{"/etc", true, true, true},
		{"/etc/ssl", true, false, false},
		{"/etc/mcp-gateway/keys", true, true, false},
		{"/run/user/1000", true, true, true},
		{"/runner", false, false, false},
		{"/home", true, false, false},
		{"/home/user", false, false, false},
		{"/tmp", true, false, true},
		{"/tmp/work", false, false, false},
		{"/var", true, true, false},
		{"/opt/mcp", false, false, false},
	} {
		if system, noSource, noTarget := IsSystem(tt.path), NoSource(tt.path), NoTarget(tt.path); system != tt.system || noSource != tt.noSource || noTarget != tt.noTarget {
			t.Errorf("%s: got %v %v %v, want %v %v %v", tt.path, system, noSource, noTarget, tt.system, tt.noSource, tt.noTarget)
		}
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(root, "link")
	if err := errors.Join(os.Mkdir(root+"/real", 0o700), os.Symlink(root+"/real", link), os.Symlink("/nowhere/at/all", root+"/dangling")); err != nil {
		t.Fatal(err)
	}
	if got, err := Resolve(link); got != root+"/real" || err != nil {
		t.Errorf("link: got %q, %v", got, err)
	}
	if got, err := Resolve(link + "/not/there"); got != root+"/real/not/there" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("below a link, not there: got %q, %v", got, err)
	}
	if got, err := Resolve(root + "/dangling/x"); got != "" || err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("dangling: got %q, %v, want another error than fs.ErrNotExist", got, err)
	}
}
