// Package images knows the root filesystems that a server can run on: what is
// visible inside one, and where a command is found in it. It changes nothing
// outside the folder it is given and reads no file's content but the names,
// links and few configuration files that make up the image.
//
// Runs in: daemon, CLI.
package images

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Path is the PATH that a server gets, and where its command is looked for.
const Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Bind makes a file or folder of the host visible inside, read-only.
type Bind struct {
	Source, Target string
}

// Link is a symbolic link at the top of the root filesystem.
type Link struct {
	Name, Target string
}

// Image is a root filesystem: an empty one with these binds and links.
type Image struct {
	Name  string
	Binds []Bind
	Links []Link
}

// Host returns the image "host": the host's programs and libraries, and an /etc
// made for it in etcDir by WriteEtc. Nothing else of the host is in it.
func Host(etcDir string) (*Image, error) {
	image := &Image{Name: "host", Binds: []Bind{{Source: etcDir, Target: "/etc"}}}
	for _, name := range []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		info, err := os.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, fmt.Errorf("look at the host's %s: %w", name, err)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(name)
			if err != nil {
				return nil, fmt.Errorf("look at the host's %s: %w", name, err)
			}
			image.Links = append(image.Links, Link{Name: name, Target: target})
		case info.IsDir():
			image.Binds = append(image.Binds, Bind{Source: name, Target: name})
		}
	}
	return image, nil
}

// NotVisibleError says that a command can't be seen inside an image, and what
// would make it visible.
type NotVisibleError struct {
	Command, Image string
	Mount          string // the host folder to mount; empty if the host has no such command
}

func (e *NotVisibleError) Error() string {
	if e.Mount == "" {
		return fmt.Sprintf("command %q is not visible in image %q, and this host has none of that name: install it, or name it by its absolute path and add a read-only mount for its folder",
			e.Command, e.Image)
	}
	return fmt.Sprintf("command %q is not visible in image %q: add a read-only mount for %s", e.Command, e.Image, e.Mount)
}

// Find returns the absolute path inside the image at which command is
// executable, given the mounts beside the image's own. A command without a
// slash is looked for in Path, and then in the bin folder of each mount; one
// with a slash must be absolute. A *NotVisibleError says which mount is missing.
func (im *Image) Find(command string, mounts []Bind) (string, error) {
	binds := append(append([]Bind{}, im.Binds...), mounts...)
	for _, candidate := range candidates(command, mounts) {
		if im.executable(candidate, binds) {
			return candidate, nil
		}
	}
	return "", &NotVisibleError{Command: command, Image: im.Name, Mount: suggestMount(command)}
}

func candidates(command string, mounts []Bind) []string {
	if strings.Contains(command, "/") {
		return []string{command}
	}
	var paths []string
	for _, dir := range filepath.SplitList(Path) {
		paths = append(paths, filepath.Join(dir, command))
	}
	for _, m := range mounts {
		paths = append(paths, filepath.Join(m.Target, "bin", command), filepath.Join(m.Target, command))
	}
	return paths
}

// maxLinks is how many symbolic links one lookup follows, as in the kernel
// (path_resolution(7)).
const maxLinks = 40

// executable reports whether a process inside would find a program at path.
func (im *Image) executable(path string, binds []Bind) bool {
	source, ok := im.resolve(path, binds)
	if !ok {
		return false
	}
	info, err := os.Lstat(source)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// resolve walks path as a process inside would, link by link, and returns the
// host's path of what it ends at.
func (im *Image) resolve(path string, binds []Bind) (string, bool) {
	for range maxLinks {
		if !filepath.IsAbs(path) {
			return "", false
		}
		path = filepath.Clean(path)
		next, link := im.nextLink(path, binds)
		if !link {
			return hostPath(path, binds)
		}
		path = next
	}
	return "", false
}

// nextLink finds the first symbolic link among the parts of path and returns
// path with that link replaced by its target.
func (im *Image) nextLink(path string, binds []Bind) (next string, found bool) {
	parts := strings.Split(path[1:], "/")
	for i := range parts {
		current := "/" + filepath.Join(parts[:i+1]...)
		target, ok := im.readLink(current, binds)
		if !ok {
			continue
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(current), target)
		}
		return filepath.Join(append([]string{target}, parts[i+1:]...)...), true
	}
	return path, false
}

// readLink reads the link at a path inside, be it the image's own or one of the
// host below a bind.
func (im *Image) readLink(path string, binds []Bind) (string, bool) {
	for _, link := range im.Links {
		if link.Name == path {
			return link.Target, true
		}
	}
	source, ok := hostPath(path, binds)
	if !ok {
		return "", false
	}
	target, err := os.Readlink(source)
	return target, err == nil
}

// hostPath maps a path inside to the host's by the deepest bind that covers it.
func hostPath(path string, binds []Bind) (source string, covered bool) {
	longest := -1
	for _, b := range binds {
		if rest, ok := below(path, b.Target); ok && len(b.Target) > longest {
			source, covered, longest = filepath.Join(b.Source, rest), true, len(b.Target)
		}
	}
	return source, covered
}

// below reports whether path is dir or below it, and what follows dir.
func below(path, dir string) (rest string, ok bool) {
	if path == dir {
		return "", true
	}
	return strings.CutPrefix(path, dir+"/")
}

// suggestMount names the folder of the host that holds command, or "".
func suggestMount(command string) string {
	path := command
	if !strings.Contains(command, "/") {
		path = ""
		for _, dir := range filepath.SplitList(os.Getenv("PATH") + ":" + Path) {
			candidate := filepath.Join(dir, command)
			if info, err := os.Stat(candidate); err == nil && info.Mode().IsRegular() {
				path = candidate
				break
			}
		}
	}
	if !filepath.IsAbs(path) {
		return ""
	}
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return ""
	}
	dir := filepath.Dir(path)
	if filepath.Base(dir) == "bin" {
		dir = filepath.Dir(dir)
	}
	return dir
}
