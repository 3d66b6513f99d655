package inspect

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// devicePrograms counts the programs that decide on devices for a cgroup of v2
// (bpf(2), BPF_PROG_QUERY), its parents' among them.
func devicePrograms(cgroup string) (int, error) {
	dir, err := os.Open(cgroup)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	// The member query of union bpf_attr.
	var query struct {
		target     uint32
		attachType uint32
		flags      uint32
		attached   uint32
		ids        uint64
		count      uint32
		_          uint32
		_          [4]uint64
	}
	query.target, query.attachType, query.flags = uint32(dir.Fd()), unix.BPF_CGROUP_DEVICE, unix.BPF_F_QUERY_EFFECTIVE
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_QUERY, uintptr(unsafe.Pointer(&query)), unsafe.Sizeof(query))
	if errno != 0 {
		return 0, fmt.Errorf("query device programs of %s: %w", cgroup, errno)
	}
	return int(query.count), nil
}
