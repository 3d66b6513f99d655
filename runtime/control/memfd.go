package control

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// seals make a memfd immutable: what was checked is what is read (memfd_create(2)).
const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// maxDocument is the longest sealed document in bytes.
const maxDocument = 16 << 20

// NewSealed returns a sealed memfd that holds document.
func NewSealed(name string, document []byte) (*os.File, error) {
	if len(document) > maxDocument {
		return nil, fmt.Errorf("document %q has %d bytes, at most %d are allowed", name, len(document), maxDocument)
	}
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("create memfd %q: %w", name, err)
	}
	file := os.NewFile(uintptr(fd), name)
	if _, err = file.Write(document); err == nil {
		_, err = unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, seals)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("fill memfd %q: %w", name, err)
	}
	return file, nil
}

// ReadSealed reads a document made by NewSealed and refuses one that could
// still change.
func ReadSealed(file *os.File) ([]byte, error) {
	got, err := unix.FcntlInt(file.Fd(), unix.F_GET_SEALS, 0)
	if err != nil {
		return nil, fmt.Errorf("read the document's seals: %w", err)
	}
	if got&seals != seals {
		return nil, fmt.Errorf("the document is not sealed: has seals %#x, want %#x", got, seals)
	}
	return io.ReadAll(io.NewSectionReader(file, 0, maxDocument))
}
