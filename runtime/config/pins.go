package config

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"slices"

	"mcpgateway/policy"
	"mcpgateway/runtime/document"
)

// MaxLockSize is the size in bytes of the largest file of approved tools.
const MaxLockSize = 8 << 20

// ToolPins is what happens when servers' tools are not those that were approved.
type ToolPins struct {
	Mode policy.PinMode `config:"mode" want:"off|report|block"` // default "off"
	File string         `config:"file" want:"/"`                // default "tools.lock" beside the configuration

	// Lock is what the file holds, nil without one. Servers wrote parts of it, so that
	// it is not read here. Not a key.
	Lock []byte
}

// toolPins completes each server's mode, and reads the file of what is approved.
func (c *checker) toolPins() {
	pins, p := &c.config.Security.ToolPins, document.At("security", "tool_pins", "file")
	var blocking []string
	for _, name := range slices.Sorted(maps.Keys(c.config.Servers)) {
		server := c.config.Servers[name]
		if server.ToolPins = cmp.Or(server.ToolPins, pins.Mode); server.ToolPins == policy.PinsBlock && server.Enabled {
			blocking = append(blocking, name)
		}
		c.config.Servers[name] = server
	}
	if c.HasFailed(p) {
		return
	}
	var err error
	pins.Lock, err = c.ReadLong(pins.File, MaxLockSize)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(blocking) > 0:
		c.Warn(p, "%s does not exist: no tool of %q can be used until it is approved (mcp-gateway tools approve)", pins.File, blocking)
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		c.Fail(p, "%v", err)
	case len(pins.Lock) > MaxLockSize:
		c.Fail(p, "%s is larger than %d bytes", pins.File, MaxLockSize)
	}
}
