package mcp

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// partSize is the length of the parts that a line is collected in.
const partSize = 256 << 10

// parts are what has come of a line whose length is not known yet. They are no memory of Go's: each
// is the kernel's again as soon as it was copied, so that a line is held once while it is put
// together, and nothing of it is left for the collector.
type parts struct {
	all  [][]byte
	used int // of the last
	size int // of the line
}

// add copies more of the line.
func (p *parts) add(more []byte) error {
	for len(more) > 0 {
		if len(p.all) == 0 || p.used == partSize {
			part, err := unix.Mmap(-1, 0, partSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
			if err != nil {
				return fmt.Errorf("map memory: %w", err)
			}
			p.all, p.used = append(p.all, part), 0
		}
		n := copy(p.all[len(p.all)-1][p.used:], more)
		p.used, p.size, more = p.used+n, p.size+n, more[n:]
	}
	return nil
}

// join returns the line that begins with begun, and leaves only zeros where that was.
func (p *parts) join(begun []byte) []byte {
	line := append(make([]byte, 0, p.size+lineSpare), begun...)
	clear(begun)
	for len(p.all) > 0 {
		line = append(line, p.all[0][:min(partSize, p.size-len(line))]...)
		p.freeFirst()
	}
	return line
}

func (p *parts) free() {
	for len(p.all) > 0 {
		p.freeFirst()
	}
}

// freeFirst can't fail: the part was mapped.
func (p *parts) freeFirst() {
	_ = unix.Munmap(p.all[0])
	p.all = p.all[1:]
}
