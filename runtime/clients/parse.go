// Package clients knows the configuration files of MCP clients: it reads the servers in
// them, makes the gateway's configuration of those, and writes what a client needs to
// reach the gateway. It copies no secret into either.
//
// Runs in: CLI.
package clients

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// MaxSize is the largest file in bytes that is read.
const MaxSize = 4 << 20

// Server is a server as a client's file has it.
type Server struct {
	Name    string
	Command string
	Args    []string
	Env     map[string]string
	EnvFile string
	Dir     string // working directory
	URL     string // it is reached over the network
	Off     bool
}

// File is what a client's file says.
type File struct {
	Path    string
	Folder  string            // that the client calls the workspace
	Servers []Server          // in the order of their names
	Inputs  map[string]string // what VS Code asks for: descriptions by id
}

// written is a file's form: Claude's, Cursor's and Windsurf's, or VS Code's.
type written struct {
	MCPServers map[string]writtenServer `json:"mcpServers"`
	Servers    map[string]writtenServer `json:"servers"`
	Inputs     []writtenInput           `json:"inputs"`
	MCP        *struct {                // in VS Code's settings
		Servers map[string]writtenServer `json:"servers"`
		Inputs  []writtenInput           `json:"inputs"`
	} `json:"mcp"`
}

type writtenInput struct {
	ID          string `json:"id"`
	Description string `json:"description"`
}

type writtenServer struct {
	Command   string         `json:"command"`
	Args      []string       `json:"args"`
	Env       map[string]any `json:"env"`
	EnvFile   string         `json:"envFile"`
	Dir       string         `json:"cwd"`
	URL       string         `json:"url"`
	ServerURL string         `json:"serverUrl"` // Windsurf's
	Disabled  bool           `json:"disabled"`
}

// Parse reads a file, which may have comments and commas at the ends of lists, as VS
// Code's do. Path must be absolute.
func Parse(path string, content []byte) (*File, error) {
	if len(content) > MaxSize {
		return nil, fmt.Errorf("read %s: it has more than %d bytes", path, MaxSize)
	}
	var w written
	if err := json.Unmarshal(withoutComments(content), &w); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	servers, inputs := w.MCPServers, w.Inputs
	switch {
	case servers != nil:
	case w.Servers != nil:
		servers = w.Servers
	case w.MCP != nil:
		servers, inputs = w.MCP.Servers, w.MCP.Inputs
	default:
		return nil, fmt.Errorf("read %s: it has neither mcpServers (Claude, Cursor, Windsurf) nor servers (VS Code)", path)
	}
	f := &File{Path: path, Folder: workspace(path), Inputs: map[string]string{}}
	for _, input := range inputs {
		f.Inputs[input.ID] = input.Description
	}
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		s, err := servers[name].server(name)
		if err != nil {
			return nil, fmt.Errorf("read %s: server %q: %w", path, name, err)
		}
		f.Servers = append(f.Servers, s)
	}
	return f, nil
}

func (w writtenServer) server(name string) (Server, error) {
	s := Server{Name: name, Command: w.Command, Args: w.Args, EnvFile: w.EnvFile, Dir: w.Dir, URL: w.URL, Off: w.Disabled, Env: map[string]string{}}
	if s.URL == "" {
		s.URL = w.ServerURL
	}
	if s.Command == "" && s.URL == "" {
		return s, errors.New("it has neither a command nor a url")
	}
	for key, value := range w.Env {
		switch v := value.(type) {
		case nil:
		case string:
			s.Env[key] = v
		case float64, bool:
			s.Env[key] = fmt.Sprint(v)
		default:
			return s, fmt.Errorf("env.%s is no text", key)
		}
	}
	return s, nil
}

// workspace is the folder that a file is about: that of .vscode or .cursor, or its own.
func workspace(path string) string {
	dir := filepath.Dir(path)
	if base := filepath.Base(dir); base == ".vscode" || base == ".cursor" {
		return filepath.Dir(dir)
	}
	return dir
}

// withoutComments makes JSON of JSON with comments and of commas before brackets.
func withoutComments(text []byte) []byte {
	var out bytes.Buffer
	comma := -1 // where the last comma is in out, if only space follows it
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '"':
			end := i + 1
			for end < len(text) && text[end] != '"' {
				if text[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(text))
			out.Write(text[i:end])
			i, comma = end, -1
		case bytes.HasPrefix(text[i:], []byte("//")):
			end := bytes.IndexByte(text[i:], '\n')
			if end < 0 {
				end = len(text) - i
			}
			i += end
		case bytes.HasPrefix(text[i:], []byte("/*")):
			end := bytes.Index(text[i+2:], []byte("*/"))
			if end < 0 {
				out.Write(text[i:])
				return out.Bytes() // for the parser to refuse
			}
			out.WriteByte(' ')
			i += 2 + end + 2
		default:
			if (c == '}' || c == ']') && comma >= 0 {
				out.Bytes()[comma] = ' '
			}
			if c == ',' {
				comma = out.Len()
			} else if !strings.ContainsRune(" \t\r\n", rune(c)) {
				comma = -1
			}
			out.WriteByte(c)
			i++
		}
	}
	return out.Bytes()
}
