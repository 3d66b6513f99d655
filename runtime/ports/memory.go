package ports

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"slices"

	"mcpgateway/runtime/document"
)

// Memory is where the gateway's listeners were the last time, by name.
type Memory map[string]Place

// Place is where a listener was.
type Place struct {
	Address  netip.Addr `json:"address"`
	Port     int        `json:"port"`
	Assigned bool       `json:"assigned,omitempty"` // the configuration did not name the port
}

// String is address and port.
func (p Place) String() string {
	return netip.AddrPortFrom(p.Address, uint16(p.Port)).String()
}

// file is how a Memory is kept.
type file struct {
	Version int    `json:"version"`
	Ports   Memory `json:"ports"`
}

const version = 1

// Admin is the listener that is no transport's.
const Admin = "admin"

// Names are those that listeners go by: the transports', and Admin.
func Names() []string { return []string{Admin, "grpc", "http", "sse", "websocket"} }

// Remember is what to remember of listeners.
func Remember(listeners []Listener) Memory {
	m := make(Memory)
	for _, l := range listeners {
		m[l.Name] = Place{l.Address.Addr(), int(l.Address.Port()), l.Assigned}
	}
	return m
}

// Encode gives the content of a file that Load reads.
func (m Memory) Encode() ([]byte, error) {
	content, err := json.MarshalIndent(file{version, m}, "", "  ")
	return append(content, '\n'), err
}

// Load reads what was remembered; nothing if there is no file. One that others than root or
// this process's user could have written, or that says what no gateway writes, is an error.
func Load(path string) (Memory, error) {
	content, err := document.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // nothing is remembered, which is no error
	}
	if err != nil {
		return nil, fmt.Errorf("read assigned ports: %w", err)
	}
	m, err := parse(content)
	if err != nil {
		return nil, fmt.Errorf("read assigned ports: %s: %w", path, err)
	}
	return m, nil
}

func parse(content []byte) (Memory, error) {
	var f file
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&f); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more behind its end")
	}
	if f.Version != version {
		return nil, fmt.Errorf("version is %d, want %d", f.Version, version)
	}
	taken := make(map[int]bool)
	for name, p := range f.Ports {
		switch {
		case !slices.Contains(Names(), name):
			return nil, fmt.Errorf("%.40q is no listener", name)
		case !p.Address.IsValid() || p.Port < 1 || p.Port > 65535 || taken[p.Port]:
			return nil, fmt.Errorf("%s has no address of its own", name)
		}
		taken[p.Port] = true
	}
	return f.Ports, nil
}
