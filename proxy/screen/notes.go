package screen

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"sync"
)

// maxTold bounds what is remembered of what was told. Over it all may be told again.
const maxTold = 4096

// Notes tells of each finding once. Its methods may be called concurrently.
type Notes struct {
	log  *slog.Logger
	mu   sync.Mutex
	told map[[sha256.Size]byte]bool
}

// NewNotes returns notes that nothing was told of.
func NewNotes(log *slog.Logger) *Notes {
	return &Notes{log: log, told: map[[sha256.Size]byte]bool{}}
}

// Tell logs what was found in a server's answer to a method, unless it did before.
func (n *Notes) Tell(server, method string, findings []Finding) {
	for _, f := range findings {
		if n.first(server, method, f) {
			n.log.Warn("a server's text has hidden characters", "server", server, "method", method,
				"item", fmt.Sprintf("%.200q", f.Item), "characters", fmt.Sprintf("%U", f.Characters), "left_out", f.LeftOut)
		}
	}
}

func (n *Notes) first(server, method string, f Finding) bool {
	key := sha256.Sum256(append([]byte(server+"\x00"+method+"\x00"+f.Item+"\x00"), f.Digest[:]...))
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.told[key] {
		return false
	}
	if len(n.told) >= maxTold {
		clear(n.told)
	}
	n.told[key] = true
	return true
}
