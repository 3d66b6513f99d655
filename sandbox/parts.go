package sandbox

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// parts are what the launcher of one sandbox is given, each held by a descriptor.
type parts struct {
	filter   *os.File // of the runtime: not closed here
	lifeline *os.File // of the runtime
	env      *os.File // the server's environment
	rules    *ruleset
}

func (s *Sandbox) prepare() (p *parts, err error) {
	p = &parts{lifeline: s.runtime.lifeline}
	if err := checkLabels(s.spec); err != nil {
		return p, err
	}
	if p.filter, err = s.runtime.filter(s.spec.Syscalls); err != nil {
		return p, err
	}
	if p.env, err = newEnvironment(s.spec.Env); err != nil {
		return p, err
	}
	p.rules, err = newRuleset(s.spec)
	return p, err
}

// newEnvironment holds a server's environment as in execve(2), each entry with a NUL
// behind it. It does not become the launcher's own, a Go program's, which would
// obey GODEBUG and its like; and arguments could be read by everybody.
func newEnvironment(entries []string) (*os.File, error) {
	fd, err := unix.MemfdCreate("environment", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "environment")
	for _, entry := range entries {
		if _, err := file.WriteString(entry + "\x00"); err != nil {
			file.Close()
			return nil, err
		}
	}
	return file, nil
}

// checkLabels refuses labels of a security module that this host does not run.
func checkLabels(spec Spec) error {
	if spec.AppArmor != "" {
		if enabled, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err != nil || !strings.HasPrefix(string(enabled), "Y") {
			return fmt.Errorf("its profile names the AppArmor label %q, and this host does not run AppArmor: boot with apparmor in lsm=, or take the label out", spec.AppArmor)
		}
	}
	if spec.SELinux != "" {
		if _, err := os.Stat("/sys/fs/selinux/enforce"); err != nil {
			return fmt.Errorf("its profile names the SELinux label %q, and this host does not run SELinux: boot with selinux in lsm=, or take the label out", spec.SELinux)
		}
	}
	return nil
}

// launcherFlags and launcherFiles are what the launcher is told and given.
func (p *parts) launcherFlags() []string {
	if p.rules == nil {
		return nil
	}
	return []string{"-landlock"}
}

func (p *parts) launcherFiles() []*os.File {
	files := []*os.File{p.filter, p.lifeline, p.env}
	if p.rules != nil {
		files = append(files, p.rules.file)
	}
	return files
}

func (p *parts) close() {
	if p.env != nil {
		p.env.Close()
	}
	p.rules.close()
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
