package inspect

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// checkLandlock tells whether the kernel has what the profile asks for. Whether
// its rules are in force for a process, the kernel shows to nobody.
func (a *audit) checkLandlock() {
	const section = "landlock"
	mode := a.Profile.Landlock.Mode
	if mode == "off" {
		return
	}
	version, err := a.landlock()
	f := fact{section, "kernel has it", "yes", "landlock_create_ruleset(2)", 3}
	if mode == "available" {
		f.want = "yes or no"
	}
	a.judge(f, fmt.Sprintf("version %d", version), version > 0 || mode == "available", err)
	if version > 0 {
		held := slices.Contains(slices.Collect(maps.Values(a.first.links)), "anon_inode:[landlock-ruleset]")
		a.judge(fact{section, "first process was given rules", "true", "fd", 3}, strconv.FormatBool(held), held, a.first.err)
		a.hidden(fact{section, "rules are in force", "yes", "landlock(7)", 3}, "told to nobody")
	}
}

// landlockVersion is that of the kernel's Landlock; zero if it has none or it is
// off.
func landlockVersion() (int, error) {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	switch errno {
	case 0:
		return int(version), nil
	case unix.ENOSYS, unix.EOPNOTSUPP:
		return 0, nil
	}
	return 0, os.NewSyscallError("landlock_create_ruleset", errno)
}
