// Package hostpath says which paths of the host a file of root's may name for
// servers. It opens and changes nothing.
//
// Runs in: daemon, CLI.
package hostpath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Folders of the system. No server may use a part of a tree or what holds one.
// The single folders hold other people's: a part of them may be used.
var (
	systemTrees = []string{
		"/etc", "/proc", "/sys", "/dev", "/boot", "/root", "/run", "/usr", "/bin", "/sbin",
		"/lib", "/lib32", "/lib64", "/libx32", "/var/lib/mcp-gateway", "/var/log/mcp-gateway",
	}
	systemFolders = []string{
		"/home", "/var", "/tmp", "/opt", "/srv", "/mnt", "/media", "/var/lib", "/var/log", "/var/tmp", "/var/run",
	}
	// A program never lives in these, but kernel interfaces, sockets and keys do.
	noSourceTrees   = []string{"/proc", "/sys", "/dev", "/run", "/boot", "/etc/mcp-gateway", "/var/lib/mcp-gateway", "/var/log/mcp-gateway"}
	noSourceFolders = []string{"/etc"}
	noTargetTrees   = []string{"/proc", "/sys", "/dev", "/run"}
	noTargetFolders = []string{"/etc", "/tmp"}
)

// IsSystem reports whether path is the system's own, and no project's directory.
func IsSystem(path string) bool { return touches(path, systemTrees, systemFolders) }

// NoSource reports whether path can't be the source of a mount.
func NoSource(path string) bool { return touches(path, noSourceTrees, noSourceFolders) }

// NoTarget reports whether a sandbox has something of its own at path.
func NoTarget(path string) bool { return touches(path, noTargetTrees, noTargetFolders) }

// touches reports whether path is one of folders, or lies in or holds one of trees.
func touches(path string, trees, folders []string) bool {
	return slices.Contains(folders, path) || slices.ContainsFunc(trees, func(tree string) bool {
		return Within(path, tree) || Within(tree, path)
	})
}

// Within reports whether path is folder or lies in it.
func Within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

// Resolve returns path without symbolic links. If path does not exist, the
// error is fs.ErrNotExist and the part that does exist is resolved.
func Resolve(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return real, err
	}
	for have := path; ; have = filepath.Dir(have) {
		if _, err := os.Lstat(have); err != nil && have != "/" {
			continue
		}
		real, err := filepath.EvalSymlinks(have)
		if err != nil {
			return "", fmt.Errorf("%s is a symbolic link that leads nowhere", have)
		}
		return filepath.Join(real, path[len(have):]), fs.ErrNotExist
	}
}
