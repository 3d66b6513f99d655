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
func Claim() (id int, release func(), err error) { return ClaimFor(Ranges) }

// ClaimFor does so for so many sandboxes: parts in a row.
func ClaimFor(sandboxes int) (id int, release func(), err error) {
	if err := os.MkdirAll(locks, 0o700); err != nil {
		return 0, nil, err
	}
	var held []*os.File
	release = func() {
		for _, lock := range held {
			lock.Close()
		}
		held = nil
	}
	wanted := (sandboxes + Ranges - 1) / Ranges
	for part := range parts {
		lock, err := os.OpenFile(filepath.Join(locks, strconv.Itoa(part)), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			release()
			return 0, nil, err
		}
		switch err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case err == nil:
			held = append(held, lock)
		case errors.Is(err, unix.EWOULDBLOCK): // the row begins behind it
			lock.Close()
			release()
		default:
			lock.Close()
			release()
			return 0, nil, err
		}
		if len(held) == wanted {
			return first + (part+1-wanted)*PerRange*Ranges, release, nil
		}
	}
	release()
	return 0, nil, fmt.Errorf("there are no %d parts in a row of the host's ids that nobody uses", wanted)
}
