// Package hostids gives each gateway of a test its own part of the host's user ids, so
// that what it leaves can be told from what others run on this host: gateways of the
// same run, of another, or of another package's tests.
package hostids

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	// PerRange is how many ids a sandbox has.
	PerRange = 1 << 16
	// Ranges is how many sandboxes a part is for.
	Ranges = 32

	first = 0x20000000 // up to 0x50000000, where other tests begin
	parts = 384
	locks = "/run/mcp-gateway-test-ids"
)

// Claim returns the first id of a part that nobody else has before release, or before
// this process ends.
func Claim() (id int, release func(), err error) {
	if err := os.MkdirAll(locks, 0o700); err != nil {
		return 0, nil, err
	}
	for part := range parts {
		lock, err := os.OpenFile(filepath.Join(locks, strconv.Itoa(part)), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return 0, nil, err
		}
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return first + part*PerRange*Ranges, func() { lock.Close() }, nil
		}
		lock.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return 0, nil, err
		}
	}
	return 0, nil, fmt.Errorf("all %d parts of the host's ids are in use", parts)
}
