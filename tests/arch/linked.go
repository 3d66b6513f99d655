package arch

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// linkedPackage is a package as go list -deps knows it.
type linkedPackage struct {
	ImportPath string
	Dir        string
	Standard   bool
	Imports    []string
	GoFiles    []string
	CgoFiles   []string
}

// linkedBy lists what a binary links when it is built with tags: dependencies
// first, the binary last.
func linkedBy(ctx context.Context, root, binary, tags string) ([]linkedPackage, error) {
	command := exec.CommandContext(ctx, "go", "list", "-deps", "-tags="+tags,
		"-json=ImportPath,Dir,Standard,Imports,GoFiles,CgoFiles", "./"+binary)
	command.Dir = root
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("list what %s links: %w: %s", binary, err, bytes.TrimSpace(stderr.Bytes()))
	}
	var linked []linkedPackage
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var p linkedPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return linked, nil
		}
		if err != nil {
			return nil, fmt.Errorf("parse what %s links: %w", binary, err)
		}
		linked = append(linked, p)
	}
}

// makeVariable reads a variable of a Makefile, so that build tags stand in one
// place.
func makeVariable(makefile io.Reader, name string) (string, error) {
	lines := bufio.NewScanner(makefile)
	for lines.Scan() {
		left, right, ok := strings.Cut(lines.Text(), "=")
		if ok && strings.TrimRight(left, " :?") == name {
			return strings.TrimSpace(right), nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("read Makefile: %w", err)
	}
	return "", fmt.Errorf("read Makefile: no line sets %s", name)
}

// ownLines counts the code lines of each of the module's packages in linked.
func ownLines(linked []linkedPackage) (map[string]int, error) {
	lines := map[string]int{}
	for _, p := range linked {
		if !within(p.ImportPath, module) {
			continue
		}
		for _, name := range slices.Concat(p.GoFiles, p.CgoFiles) {
			content, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				return nil, err
			}
			lines[p.ImportPath] += codeLines(content)
		}
	}
	return lines, nil
}

// dependencies are the sorted names of linked, without the standard library's
// insides: those come and go with the version of Go.
func dependencies(linked []linkedPackage) []string {
	var names []string
	for _, p := range linked {
		inside := strings.HasPrefix(p.ImportPath, "vendor/") || slices.Contains(strings.Split(p.ImportPath, "/"), "internal")
		if !p.Standard || !inside {
			names = append(names, p.ImportPath)
		}
	}
	slices.Sort(names)
	return names
}
