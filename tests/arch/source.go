package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// sourceFile is what the rules need to know of one Go file. Build constraints
// play no part: a file counts on whatever platform it is compiled.
type sourceFile struct {
	path      string // from the module's root, with slashes
	test      bool   // a _test.go file
	generated bool   // has the comment of go help generate
	doc       string // package comment
	imports   []string
	inits     int // functions called init
}

func (f sourceFile) pkg() string { return path.Dir(f.path) }

// loadSource parses every Go file of the module below root.
func loadSource(root string) ([]sourceFile, error) {
	var files []sourceFile
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			// Tools are modules of their own, of which no program has anything.
			if name != root && notSource(entry.Name()) || name == filepath.Join(root, "tools") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		file, err := parseSource(filepath.ToSlash(relative), content)
		files = append(files, file)
		return err
	})
	return files, err
}

// notSource names the folders that the go command passes over, too.
func notSource(folder string) bool {
	return folder == "testdata" || folder == "vendor" || folder == "node_modules" ||
		strings.HasPrefix(folder, ".") || strings.HasPrefix(folder, "_")
}

func parseSource(name string, content []byte) (sourceFile, error) {
	tree, err := parser.ParseFile(token.NewFileSet(), name, content, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return sourceFile{}, fmt.Errorf("parse %s: %w", name, err)
	}
	file := sourceFile{
		path:      name,
		test:      strings.HasSuffix(name, "_test.go"),
		generated: ast.IsGenerated(tree),
		doc:       tree.Doc.Text(),
	}
	for _, spec := range tree.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return sourceFile{}, fmt.Errorf("parse %s: import %s: %w", name, spec.Path.Value, err)
		}
		file.imports = append(file.imports, imported)
	}
	for _, declaration := range tree.Decls {
		if f, ok := declaration.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			file.inits++
		}
	}
	return file, nil
}

// packages are the packages of files, sorted; one with nothing but tests counts.
func packages(files []sourceFile) []string {
	var names []string
	for _, f := range files {
		names = append(names, f.pkg())
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// codeLines counts the lines that hold code: neither blank ones nor those with
// comments only. A text over several lines counts as so many.
func codeLines(content []byte) int {
	set := token.NewFileSet()
	file := set.AddFile("", set.Base(), len(content))
	var s scanner.Scanner
	s.Init(file, content, nil, 0) // without comments
	lines := map[int]bool{}
	for {
		position, kind, text := s.Scan()
		if kind == token.EOF {
			return len(lines)
		}
		if kind == token.SEMICOLON && text == "\n" {
			continue // inserted by the scanner, not written
		}
		first := file.Line(position)
		for i := range 1 + strings.Count(text, "\n") {
			lines[first+i] = true
		}
	}
}
