package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// leavePages takes the pages of the program out of the memory of this process. Most of them are code
// and tables that only the start needed, or the reading of a policy. Those that it needs are the
// kernel's still, and come back without being read.
func leavePages() error {
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range ofFiles(string(smaps)) {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED); errno != 0 {
			errs = append(errs, fmt.Errorf("madvise %x-%x: %w", m.start, m.end, errno))
		}
	}
	return errors.Join(errs...)
}

// mapping is a part of this process's address space.
type mapping struct{ start, end uintptr }

// ofFiles returns what of /proc/PID/smaps is as it is in a file and can't be written to: nothing else
// may go. A loader may have written to what is read-only now.
func ofFiles(smaps string) (found []mapping) {
	same := false // the mapping that was found last, as far as was read
	for line := range strings.Lines(smaps) {
		name, value, _ := strings.Cut(line, ":")
		switch {
		case strings.Contains(name, "-"): // not a field's name, but a range
			var m mapping
			if m, same = readOnlyFile(line); same {
				found = append(found, m)
			}
		case same && (name == "Anonymous" || name == "Swap") && strings.TrimSpace(value) != "0 kB":
			found, same = found[:len(found)-1], false
		}
	}
	return found
}

func readOnlyFile(line string) (m mapping, ok bool) {
	var mode, offset, device, inode, name string
	if _, err := fmt.Sscanf(line, "%x-%x %s %s %s %s %s", &m.start, &m.end, &mode, &offset, &device, &inode, &name); err != nil {
		return mapping{}, false
	}
	return m, strings.HasPrefix(name, "/") && (mode == "r-xp" || mode == "r--p")
}
