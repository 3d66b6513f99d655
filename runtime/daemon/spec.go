package daemon

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/user"
	"slices"
	"strconv"
	"syscall"

	"mcpgateway/images"
	"mcpgateway/runtime/config"
	"mcpgateway/sandbox"
)

// newSpec makes a sandbox's description from a server's configuration and the
// host as it is now. The files of its mounts are the caller's to close, also after
// an error.
func newSpec(id string, server config.Server, image *images.Image) (spec sandbox.Spec, err error) {
	binds := make([]images.Bind, len(server.Sandbox.Filesystem.Mounts))
	for i, m := range server.Sandbox.Filesystem.Mounts {
		binds[i] = images.Bind{Source: m.Source, Target: m.Target}
	}
	path, err := image.Find(server.Command, binds)
	if err != nil {
		return sandbox.Spec{}, err
	}
	spec = sandbox.Spec{
		ID: id, Project: server.Project, Path: path, Args: server.Args, Env: environment(server), Dir: server.WorkingDirectory,
		UID: images.UID, GID: images.GID,
	}
	for _, b := range image.Binds {
		spec.Mounts = append(spec.Mounts, sandbox.Mount{Source: b.Source, Target: b.Target})
	}
	for _, l := range image.Links {
		spec.Links = append(spec.Links, sandbox.Link(l))
	}
	for _, d := range server.AllowedDirectories {
		m, err := resolve(d)
		if err != nil {
			return spec, fmt.Errorf("allowed directory %s: %w", d.Path, err)
		}
		spec.Mounts = append(spec.Mounts, m)
	}
	return spec, confine(&spec, &server.Sandbox.Profile)
}

func closeMounts(spec sandbox.Spec) {
	for _, m := range spec.Mounts {
		if m.File != nil {
			m.File.Close()
		}
	}
}

func limits(r config.Resources) sandbox.Limits {
	return sandbox.Limits{MemoryBytes: int64(r.MaxMemoryMB) << 20, CPU: r.MaxCPU, PIDs: int64(r.MaxPIDs)}
}

// environment is all that a server gets: of the daemon's own, what its profile
// passes on.
func environment(server config.Server) []string {
	values := map[string]string{"PATH": images.Path, "HOME": "/tmp", "TMPDIR": "/tmp", "USER": "mcp", "LANG": "C.UTF-8"}
	for _, name := range server.Sandbox.Environment.Pass {
		if value, ok := os.LookupEnv(name); ok {
			values[name] = value
		}
	}
	for name, value := range server.Env {
		values[name] = value.Reveal()
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list = append(list, name+"="+values[name])
	}
	return list
}

// resolve opens a directory and decides as whom a server acts in it, and whether it
// may write. What it looks at is what will be mounted. The host's root is never
// mapped: with nobody else to be, it reads as nobody.
func resolve(d config.Directory) (sandbox.Mount, error) {
	file, err := sandbox.Open(d.Path)
	if err != nil {
		return sandbox.Mount{}, err
	}
	m := sandbox.Mount{Source: d.Path, Target: d.Path, File: file, NoExec: true}
	info, err := file.Stat()
	if err == nil && !info.IsDir() {
		err = errors.New("it is not a directory")
	}
	if err == nil {
		err = own(&m, d.Owner, d.Access)
	}
	if err != nil {
		file.Close()
		return sandbox.Mount{}, err
	}
	return m, nil
}

// own decides as whom a server acts in m: as owner, a user's id, or else as the user
// to whom it belongs on disk.
func own(m *sandbox.Mount, owner string, access config.Access) error {
	info, err := m.File.Stat()
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("its owner is not known")
	}
	uid, gid := int(st.Uid), int(st.Gid)
	if owner != "" {
		if uid, err = strconv.Atoi(owner); err != nil {
			return fmt.Errorf("owner: %w", err)
		}
	}
	if owner != "" || gid == 0 {
		gid = primaryGroup(uid)
	}
	switch {
	case uid != 0 && gid != 0:
		m.Writable, m.UID, m.GID = access != config.AccessReadOnly, uid, gid
	case access == config.AccessReadWrite:
		return errors.New("its owner is root, or in root's group, and a server never writes as root: use access: ro, or let owner: name another user")
	}
	return nil
}

// primaryGroup returns a user's group from passwd(5). A number that is nobody's
// has a group of the same number.
func primaryGroup(uid int) int {
	found, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return uid
	}
	gid, err := strconv.Atoi(found.Gid)
	if err != nil {
		return 0 // which the caller treats as root's
	}
	return gid
}
