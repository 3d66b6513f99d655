package authn

import (
	"net/netip"
	"sync"
	"time"
)

// Who fails more often than this has to wait.
const (
	failureBurst    = 20
	failureInterval = time.Second // after the burst
	maxSources      = 8192
)

// throttle counts failures of each source. For each it holds when the failures so far
// are forgiven, if each costs an interval; the zero throttle is empty.
type throttle struct {
	looking sync.Mutex // held while a token of a source that has to wait is looked at

	mu      sync.Mutex
	sources map[netip.Prefix]time.Time
}

// source is who counts as one: who has an IPv6 address usually has a /64.
func source(address netip.Addr) netip.Prefix {
	address = address.Unmap().WithZone("")
	bits := 32
	if address.Is6() {
		bits = 64
	}
	prefix, _ := address.Prefix(bits) // it fails for the zero Addr only
	return prefix
}

// failed notes a failure. If there were too many it returns how long to wait.
func (t *throttle) failed(address netip.Addr, now time.Time) time.Duration {
	if !address.IsValid() {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	key := source(address)
	wait := t.waitLocked(key, now)
	if wait > 0 {
		return wait // it costs nothing more: an attacker locks nobody out for long
	}
	if _, known := t.sources[key]; !known {
		t.makeRoomLocked(now)
	}
	forgiven := t.sources[key]
	if forgiven.Before(now) {
		forgiven = now
	}
	t.sources[key] = forgiven.Add(failureInterval)
	return 0
}

// wait returns how long a source has to wait, 0 for not at all.
func (t *throttle) wait(address netip.Addr, now time.Time) time.Duration {
	if !address.IsValid() {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.waitLocked(source(address), now)
}

func (t *throttle) waitLocked(key netip.Prefix, now time.Time) time.Duration {
	forgiven, known := t.sources[key]
	if !known {
		return 0
	}
	return max(0, forgiven.Sub(now)-(failureBurst-1)*failureInterval)
}

// makeRoomLocked keeps the table bounded. If nobody in it is forgiven, somebody goes:
// who can fail from so many addresses is not held up by this anyway.
func (t *throttle) makeRoomLocked(now time.Time) {
	if t.sources == nil {
		t.sources = make(map[netip.Prefix]time.Time)
	}
	if len(t.sources) < maxSources {
		return
	}
	for key, forgiven := range t.sources {
		if !forgiven.After(now) {
			delete(t.sources, key)
		}
	}
	for key := range t.sources {
		if len(t.sources) < maxSources*3/4 { // so that it is not for the next one to do again
			return
		}
		delete(t.sources, key)
	}
}

func throttled(wait time.Duration) *Error {
	return &Error{Kind: Throttled, Text: "too many wrong credentials came from this address: wait a little", RetryAfter: wait}
}
