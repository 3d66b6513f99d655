package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// idRange is how many host uids and gids each sandbox has to itself: as many as
// fit a 16-bit id, so that "nobody" (65534) exists inside.
const idRange = 1 << 16

// rangeLocks holds a lock file for each range in use, of all gateways on this host:
// two with the same pool must not give two servers the same uid.
const rangeLocks = "/run/mcp-gateway-ids"

// takeRange reserves a range of host ids and counts the sandbox as running.
func (r *Runtime) takeRange() (base int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, errors.New("the daemon is stopping")
	}
	for i := range r.host.UIDCount {
		base := r.host.UIDStart + i*idRange
		if r.inUse[base] != nil {
			continue
		}
		lock, err := lockRange(base)
		if err != nil {
			return 0, fmt.Errorf("lock user ids %d: %w", base, err)
		}
		if lock == nil {
			continue
		}
		r.inUse[base] = lock
		r.running.Add(1)
		return base, nil
	}
	return 0, fmt.Errorf("the uid pool is used up: %d sandboxes run, those of other gateways with the same pool among them: make sandbox.uid_pool.count larger", r.host.UIDCount)
}

func (r *Runtime) releaseRange(base int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inUse[base].Close()
	delete(r.inUse, base)
}

// lockRange returns the lock of a range, or nil if another gateway has it. The
// kernel gives it back when the file is closed, or its daemon ends.
func lockRange(base int) (*os.File, error) {
	if err := os.MkdirAll(rangeLocks, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(rangeLocks, strconv.Itoa(base)), unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return lock, nil
	}
	lock.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, err
}
