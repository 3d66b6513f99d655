package document

import "slices"

// ReadFile is the package's ReadFile, for a file that belongs to this document: who
// watches the document watches it, too.
func (r *Report) ReadFile(path string) ([]byte, error) {
	r.Watch(path)
	return ReadFile(path)
}

// ReadSecret is the package's ReadSecret, for a file that belongs to this document.
func (r *Report) ReadSecret(path string) ([]byte, error) {
	r.Watch(path)
	return ReadSecret(path)
}

// ReadLong is the package's ReadLong, for a file that belongs to this document.
func (r *Report) ReadLong(path string, size int64) ([]byte, error) {
	r.Watch(path)
	return ReadLong(path, size)
}

// Watch says that the document is made of what is at these paths, too: a file, a
// folder and the names in it, or nothing yet.
func (r *Report) Watch(paths ...string) { r.files = append(r.files, paths...) }

// Files are the paths of what the document is made of, beside itself, each once,
// whether or not there is anything.
func (r *Report) Files() []string {
	files := slices.Clone(r.files)
	slices.Sort(files)
	return slices.Compact(files)
}
