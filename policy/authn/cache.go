package authn

import (
	"crypto/sha256"
	"sync"
	"time"

	"mcpgateway/policy"
)

const (
	maxCached      = 4096
	maxCachedBytes = 8 << 20 // of the tokens; what is kept of one may be some times as long
)

// verified is a token whose signature was verified. It is immutable.
type verified struct {
	identity   policy.Identity
	rules      *policy.TokenRules
	audiences  []string
	thumbprint string // of the client certificate that it is bound to (RFC 8705)
	notBefore  time.Time
	expires    time.Time
	size       int
	source     *keySource // of the key that verified it; nil: it was configured
	digest     [sha256.Size]byte
}

// cache remembers tokens by their digest, so that a token itself is kept nowhere.
type cache struct {
	rules [sha256.Size]byte // by which they were verified

	mu     sync.RWMutex
	tokens map[[sha256.Size]byte]*verified
	bytes  int
}

func newCache(rules [sha256.Size]byte) *cache {
	return &cache{rules: rules, tokens: make(map[[sha256.Size]byte]*verified)}
}

func (c *cache) get(digest [sha256.Size]byte) *verified {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.tokens[digest]
}

func (c *cache) put(digest [sha256.Size]byte, v *verified) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked(digest)
	for other := range c.tokens { // in no order
		if len(c.tokens) < maxCached && c.bytes+v.size <= maxCachedBytes {
			break
		}
		c.dropLocked(other)
	}
	c.tokens[digest] = v
	c.bytes += v.size
}

func (c *cache) drop(digest [sha256.Size]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked(digest)
}

func (c *cache) dropLocked(digest [sha256.Size]byte) {
	if v, ok := c.tokens[digest]; ok {
		c.bytes -= v.size
		delete(c.tokens, digest)
	}
}
