package arch

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// checkOrder refuses an import that does not go to a lower layer, and a package
// without a layer. Commands may import everything but tests, tests everything.
// Test files of a package may look up as well: they are linked by nobody.
func checkOrder(files []sourceFile, layers map[string]int) (problems []string) {
	for _, name := range packages(files) {
		if _, known := layers[name]; !known && !isCommand(name) && !isTest(name) {
			problems = append(problems, fmt.Sprintf("package %s is in no layer: add it to layers in tests/arch/arch.go", name))
		}
	}
	for _, f := range files {
		for _, imported := range f.imports {
			target, own := strings.CutPrefix(imported, module+"/")
			switch {
			case !own || isTest(f.path):
			case isTest(target):
				problems = append(problems, fmt.Sprintf("%s imports %s: nobody imports tests", f.path, target))
			case f.test || isCommand(f.path):
			case layers[target] >= layers[f.pkg()]:
				problems = append(problems, fmt.Sprintf("%s (layer %d) imports %s (layer %d): imports go to lower layers only",
					f.path, layers[f.pkg()], target, layers[target]))
			}
		}
	}
	return problems
}

// checkReserved refuses an import of a reserved path by anybody but its
// importers.
func checkReserved(files []sourceFile, reservations []reserved) (problems []string) {
	for _, f := range files {
		for _, r := range reservations {
			if slices.Contains(r.importers, f.pkg()) || slices.Contains(r.importers, f.path) {
				continue
			}
			for _, imported := range f.imports {
				if within(imported, r.prefix) {
					problems = append(problems, fmt.Sprintf("%s imports %s: only %s may", f.path, imported, strings.Join(r.importers, " and ")))
				}
			}
		}
	}
	return problems
}

// checkInit wants no func init outside tests.
func checkInit(files []sourceFile) (problems []string) {
	for _, f := range files {
		if f.inits > 0 && !f.test && !isTest(f.path) && !f.generated {
			problems = append(problems, f.path+" has a func init")
		}
	}
	return problems
}

// checkComments wants a package comment everywhere, and in it the process that
// runs the package. A command's name says that already, and so does the path of
// tests; packages of test files or generated files only need none.
func checkComments(files []sourceFile) (problems []string) {
	docs := map[string]string{}
	for _, f := range files {
		if !f.test && !f.generated {
			docs[f.pkg()] += f.doc
		}
	}
	for _, name := range packages(files) {
		doc, written := docs[name]
		switch {
		case !written:
		case doc == "":
			problems = append(problems, fmt.Sprintf("package %s has no package comment", name))
		case !isCommand(name) && !isTest(name) && !strings.Contains(doc, "\nRuns in: "):
			problems = append(problems, fmt.Sprintf("package %s: its comment has no line \"Runs in: …\"", name))
		}
	}
	return problems
}

// checkPlaces refuses packages that are too deep or whose name says nothing, and
// one at runtime itself, which would hide the standard library's. Generated code
// may lie one folder deeper.
func checkPlaces(files []sourceFile) (problems []string) {
	written := map[string]bool{}
	for _, f := range files {
		written[f.pkg()] = written[f.pkg()] || !f.generated
	}
	for _, name := range packages(files) {
		depth := strings.Count(name, "/") + 1
		if depth > maxDepth && (written[name] || depth > maxDepth+1) {
			problems = append(problems, fmt.Sprintf("package %s is %d folders deep, at most %d are allowed", name, depth, maxDepth))
		}
		if slices.Contains(forbiddenNames(), path.Base(name)) {
			problems = append(problems, fmt.Sprintf("package %s has a name that says nothing", name))
		}
		if name == "runtime" || name == "." {
			problems = append(problems, fmt.Sprintf("folder %s holds Go files, but no package belongs there", name))
		}
	}
	return problems
}

// checkColour refuses what a binary must not link, and says how it gets there.
func checkColour(c colour, linked []linkedPackage) (problems []string) {
	match := func(path string) func(string) bool {
		return func(root string) bool { return within(path, root) }
	}
	for _, p := range linked {
		if slices.ContainsFunc(c.forbidden, match(p.ImportPath)) && !slices.ContainsFunc(c.except, match(p.ImportPath)) {
			problems = append(problems, fmt.Sprintf("%s links %s: %s", c.binary, p.ImportPath, strings.Join(chain(linked, p.ImportPath), " → ")))
		}
	}
	return problems
}

// chain is a way of imports from the binary, which comes last in linked, down to
// target.
func chain(linked []linkedPackage, target string) []string {
	steps := []string{target}
	for i := range linked { // dependencies come before the packages that import them
		if slices.Contains(linked[i].Imports, steps[0]) {
			steps = slices.Insert(steps, 0, linked[i].ImportPath)
		}
	}
	return steps
}

// checkBudget refuses more lines than limit; it names the packages, the longest
// first.
func checkBudget(lines map[string]int, limit int) (problems []string) {
	total := 0
	var names []string
	for name, n := range lines {
		total += n
		names = append(names, name)
	}
	if total <= limit {
		return nil
	}
	slices.SortFunc(names, func(a, b string) int { return lines[b] - lines[a] })
	var parts []string
	for _, name := range names {
		parts = append(parts, fmt.Sprintf("%s %d", name, lines[name]))
	}
	return []string{fmt.Sprintf("own code linked by the daemon has %d lines, at most %d are allowed: %s", total, limit, strings.Join(parts, ", "))}
}

// checkDependencies compares sorted lists of linked packages.
func checkDependencies(got, committed []string) (problems []string) {
	for _, name := range got {
		if !slices.Contains(committed, name) {
			problems = append(problems, "the daemon newly links "+name+": is it worth it?")
		}
	}
	for _, name := range committed {
		if !slices.Contains(got, name) {
			problems = append(problems, "the daemon no longer links "+name)
		}
	}
	return problems
}
