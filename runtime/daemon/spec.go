package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"mcpgateway/images"
	"mcpgateway/runtime/config"
	"mcpgateway/sandbox"
)

// newSpec makes a sandbox's description from a server's configuration and the
// host as it is now.
func newSpec(id string, server config.Server, image *images.Image) (sandbox.Spec, error) {
	mounts := make([]images.Bind, len(server.Mounts))
	for i, m := range server.Mounts {
		mounts[i] = images.Bind(m)
	}
	path, err := image.Find(server.Command, mounts)
	if err != nil {
		return sandbox.Spec{}, err
	}
	spec := sandbox.Spec{
		ID: id, Project: server.Project, Path: path, Args: server.Args, Env: environment(server), Dir: workingDirectory(server),
		UID: images.UID, GID: images.GID, Limits: limits(server.Resources),
	}
	for _, b := range slices.Concat(image.Binds, mounts) {
		spec.Mounts = append(spec.Mounts, sandbox.Mount(b))
	}
	for _, l := range image.Links {
		spec.Links = append(spec.Links, sandbox.Link(l))
	}
	for _, d := range server.AllowedDirectories {
		directory, err := resolve(d)
		if err != nil {
			return sandbox.Spec{}, fmt.Errorf("allowed directory %s: %w", d.Path, err)
		}
		spec.Directories = append(spec.Directories, directory)
	}
	return spec, nil
}

func limits(r config.Resources) sandbox.Limits {
	return sandbox.Limits{MemoryBytes: int64(r.MaxMemoryMB) << 20, CPU: r.MaxCPU, PIDs: int64(r.MaxPIDs)}
}

// environment is all that a server gets: nothing of the daemon's own.
func environment(server config.Server) []string {
	values := map[string]string{"PATH": images.Path, "HOME": "/tmp", "TMPDIR": "/tmp", "USER": "mcp", "LANG": "C.UTF-8"}
	for name, value := range server.Env {
		values[name] = value.Reveal()
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list = append(list, name+"="+values[name])
	}
	return list
}

func workingDirectory(server config.Server) string {
	switch {
	case server.WorkingDirectory != "":
		return server.WorkingDirectory
	case len(server.AllowedDirectories) > 0:
		return server.AllowedDirectories[0].Path
	default:
		return "/tmp"
	}
}

// resolve decides as whom a server acts in a directory, and whether it may write.
// The host's root is never mapped: with nobody else to be, it reads as nobody.
func resolve(d config.Directory) (sandbox.Directory, error) {
	info, err := os.Lstat(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return sandbox.Directory{}, errors.New("it does not exist on the host: create it, or take it out of the configuration")
	}
	if err != nil {
		return sandbox.Directory{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() {
		return sandbox.Directory{}, errors.New("it is not a directory")
	}
	uid, gid := int(st.Uid), int(st.Gid)
	if d.Owner != "" {
		if uid, gid, err = lookupOwner(d.Owner); err != nil {
			return sandbox.Directory{}, err
		}
	} else if uid != 0 && gid == 0 {
		if _, gid, err = lookupOwner(strconv.Itoa(uid)); err != nil {
			return sandbox.Directory{}, err
		}
	}
	if uid == 0 || gid == 0 {
		if d.Access == config.AccessReadWrite {
			return sandbox.Directory{}, errors.New("it belongs to root, and a server never writes as root: use access: ro, or name a user with owner:")
		}
		return sandbox.Directory{Path: filepath.Clean(d.Path)}, nil
	}
	return sandbox.Directory{Path: filepath.Clean(d.Path), Writable: d.Access != config.AccessReadOnly, UID: uid, GID: gid}, nil
}

// lookupOwner finds a user's ids by name or number in passwd(5). A number that is
// nobody's has a group of the same number.
func lookupOwner(owner string) (uid, gid int, err error) {
	found, err := user.Lookup(owner)
	if err != nil {
		found, err = user.LookupId(owner)
	}
	if err != nil {
		uid, numberErr := strconv.Atoi(owner)
		if numberErr != nil || uid <= 0 {
			return 0, 0, fmt.Errorf("owner %q is not a user of this host", owner)
		}
		return uid, uid, nil
	}
	uid, err = strconv.Atoi(found.Uid)
	if err != nil {
		return 0, 0, fmt.Errorf("owner %q: %w", owner, err)
	}
	gid, err = strconv.Atoi(found.Gid)
	if err != nil {
		return 0, 0, fmt.Errorf("owner %q: %w", owner, err)
	}
	if uid == 0 || gid == 0 {
		return 0, 0, fmt.Errorf("owner %q is root, or in root's group: name another user", owner)
	}
	return uid, gid, nil
}
